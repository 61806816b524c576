// The browser's half of OrbitViewer (chapter 59_orbit): pointer, wheel and keys become requests to the kernel.
//   settings: what does not change       request: what the reader asks for       result: the images that were drawn

const degrees = (radians) => (radians * 180 / Math.PI).toFixed(0) + '°';
const clamp = (x, limit) => limit === null ? x : Math.max(-limit, Math.min(limit, x));

function make(tag, name, parent, text = '') {
  const element = document.createElement(tag);
  element.className = 'agnb-orbit-' + name;
  element.textContent = text;
  parent.append(element);
  return element;
}

function render({ model, el }) {
  const settings = model.get('settings');
  const box = make('div', 'box', el);
  const row = make('div', 'row', box);
  const bar = make('div', 'bar', box);
  const request = structuredClone(model.get('request'));
  box.setAttribute('data-lm-suppress-shortcuts', 'true');

  // ---- the bar of channels
  const channels = settings.channels.map((channel) => {
    const button = make('button', 'channel', bar, channel);
    button.onclick = () => { request.channel = channel; send(false); };
    return button;
  });
  make('button', 'reset', bar, 'reset').onclick = home;
  const position = make('span', 'position', bar);
  const problem = make('div', 'problem', box);
  problem.setAttribute('role', 'alert');

  // ---- requests
  let timer = 0;

  function send(moving) {
    clearTimeout(timer);
    request.moving = moving;
    request.id += 1;
    model.set('request', structuredClone(request));
    model.save_changes();
    showRequest();
  }

  function sendThenSettle() {                  // a coarse image now, a fine one when nothing has moved for a while
    send(true);
    timer = setTimeout(() => send(false), 250);
  }

  function turn(yaw, pitch) {
    request.yaw = clamp(request.yaw + yaw, settings.yaw_limit);
    request.pitch = clamp(request.pitch + pitch, settings.pitch_limit);
    sendThenSettle();
  }

  function zoom(notches) {
    const tangent = Math.tan(request.fov * Math.PI / 360) * 1.1 ** notches;
    const [low, high] = settings.fov_range;
    request.fov = Math.max(low, Math.min(high, Math.atan(tangent) * 360 / Math.PI));
    sendThenSettle();
  }

  function home() {
    [request.yaw, request.pitch, request.fov] = settings.home;
    for (const name in settings.sliders) request.amounts[name] = settings.sliders[name][2];
    send(false);
  }

  // ---- the images: drag, wheel, double click, keys
  let dragged = null;

  const images = settings.names.map((name, i) => {
    const tile = make('figure', 'tile', row);
    const image = make('img', 'image', tile);
    make('figcaption', 'name', tile, name);
    image.alt = name + ': drag to turn, wheel to zoom, arrow keys, plus, minus and home';
    image.draggable = false;
    image.tabIndex = 0;
    image.style.width = settings.shown + 'px';

    image.onpointerdown = (event) => {
      if (event.button) return;
      event.preventDefault();
      image.focus({ preventScroll: true });
      image.setPointerCapture(event.pointerId);
      const gain = settings.ratios[i] * 2 * Math.tan(request.fov * Math.PI / 360) / image.clientWidth;
      dragged = { x: event.clientX, y: event.clientY, yaw: request.yaw, pitch: request.pitch, gain };
    };
    image.onpointermove = (event) => {
      if (!dragged) return;
      const dx = dragged.gain * (event.clientX - dragged.x), dy = dragged.gain * (event.clientY - dragged.y);
      request.yaw = clamp(dragged.yaw - dx / Math.cos(dragged.pitch), settings.yaw_limit);
      request.pitch = clamp(dragged.pitch + dy, settings.pitch_limit);
      send(true);
    };
    image.onpointerup = image.onpointercancel = () => {
      if (!dragged) return;
      dragged = null;
      send(false);
    };
    image.addEventListener('wheel', (event) => {
      event.preventDefault();
      zoom(Math.max(-5, Math.min(5, event.deltaY * (event.deltaMode ? 33 : 1) / 100)));
    }, { passive: false });
    image.ondblclick = home;
    return image;
  });

  const keys = {
    ArrowLeft: () => turn(-.1, 0), ArrowRight: () => turn(.1, 0), ArrowUp: () => turn(0, .1), ArrowDown: () => turn(0, -.1),
    '+': () => zoom(-1), '-': () => zoom(1), Home: home,
  };
  row.onkeydown = (event) => {
    if (!keys[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    keys[event.key]();
  };

  // ---- the sliders of the sources
  const sliders = {};
  for (const [name, [low, high]] of Object.entries(settings.sliders)) {
    const slider = make('input', 'amount', make('label', 'slider', box, name));
    Object.assign(slider, { type: 'range', min: low, max: high, step: (high - low) / 120 });
    const read = () => { request.amounts[name] = +slider.value; };
    slider.oninput = () => { read(); send(true); };
    slider.onchange = () => { read(); send(false); };
    slider.onkeydown = (event) => {            // the notebook would keep the arrow keys to itself
      const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
      if (!steps) return;
      event.preventDefault();
      event.stopPropagation();
      slider.value = +slider.value + steps * slider.step;
      read();
      sendThenSettle();
    };
    sliders[name] = slider;
  }

  // ---- what is shown
  function showRequest() {
    const { yaw, pitch, fov } = request;
    position.textContent = `yaw ${degrees(yaw)}, pitch ${degrees(pitch)}, field of view ${fov.toFixed(1)}°`;
    channels.forEach((button) => button.setAttribute('aria-pressed', button.textContent === request.channel));
    for (const [name, slider] of Object.entries(sliders)) slider.value = request.amounts[name];
    box.dataset.request = request.id;
  }

  function showResult() {
    const result = model.get('result');
    result.images.forEach((url, i) => { images[i].src = url; });
    problem.textContent = result.problem;
    box.dataset.count = result.count;
    box.dataset.size = result.size;
    box.dataset.shown = result.id;
  }

  model.on('change:result', showResult);
  showResult();
  showRequest();
}

export default { render };
