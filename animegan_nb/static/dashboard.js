// The browser's half of TrainingDashboard (chapter 13_dashboard).
//   state: texts, buttons and the line of snapshots       snapshot: the samples that are shown
//   A message { press: name } presses a button, { look: i } asks for a snapshot.

function mount({ model, box, on }) {
  box.classList.add('agnb-dash');
  const texts = {}, shown = {};
  texts.header = make('div', 'header-box', box);
  const row = make('div', 'buttons', box);
  row.setAttribute('role', 'toolbar');
  row.setAttribute('aria-label', 'training');
  const main = make('div', 'main', box);
  const charts = make('div', 'charts', main);
  texts.losses = make('div', 'losses-box', charts);
  texts.logits = make('div', 'logits-box', charts);
  const samples = make('div', 'samples', main);
  const when = make('div', 'when-box agnb-title', samples);
  const image = make('img', 'images', samples);
  const slider = make('input', 'when-slider', samples);
  texts.health = make('div', 'health-box', box);
  texts.health.setAttribute('role', 'status');

  const buttons = {};
  for (const name of Object.keys(model.get('state').buttons)) {
    const button = buttons[name] = make('button', name, row);
    button.onclick = () => model.send({ press: name });
  }
  Object.assign(slider, { type: 'range', min: 0, title: 'Look back: drag to an earlier snapshot' });
  slider.setAttribute('aria-label', 'snapshot of the samples');
  let dragging = false;                        // then the hand decides where the slider stands
  slider.onpointerdown = () => { dragging = true; };
  slider.onpointerup = slider.onpointercancel = () => { dragging = false; };
  slider.oninput = () => model.send({ look: +slider.value });

  function showState() {
    const state = model.get('state');
    for (const [name, place] of Object.entries(texts)) {
      if (shown[name] === state.texts[name]) continue;
      shown[name] = place.innerHTML = state.texts[name];
    }
    for (const [name, button] of Object.entries(buttons)) {
      const { text, tip, disabled } = state.buttons[name];
      if (button.textContent !== text) button.textContent = text;
      Object.assign(button, { title: tip, disabled });
    }
    slider.max = state.last;
    slider.disabled = state.last < 1;
    if (!dragging) slider.value = state.index;
  }

  function showSnapshot() {
    const { url, step } = model.get('snapshot');
    if (!url) return;
    when.innerHTML = `samples <small>at step ${step}</small>`;
    image.src = url;
    image.alt = `images that were generated at step ${step}`;
    slider.setAttribute('aria-valuetext', `step ${step}`);
  }

  on('change:state', showState);
  on('change:snapshot', showSnapshot);
  showState();
  showSnapshot();
}

export default live(mount);
