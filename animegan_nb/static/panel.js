// The browser's half of a panel (chapter 12_widgets): an image beside its controls.
//   settings: the controls and the buttons    request: their values    result: the image that was drawn

function mount({ model, box, on, signal }) {
  const settings = model.get('settings');
  box.classList.add('agnb-panel');
  const figure = make('div', 'panel-figure', box);
  const image = make('img', 'panel-image', figure);
  const problem = problemLine(figure);
  const side = make('div', 'panel-controls', box);
  image.style.width = settings.width + 'px';

  const { request, send, settle } = requests({ model, on, signal, changed: showRequest });
  const ask = settings.coarse ? settle : send;
  const controls = {};
  for (const [name, control] of Object.entries(settings.controls)) {
    const change = (value, moving = false) => {
      if (request.values[name] === value && !settings.coarse) return;
      request.values[name] = value;
      request.pressed = null;
      if (moving) ask(); else send();
    };
    controls[name] = KINDS[control.kind](control, side, change);
  }
  for (const text of settings.buttons) {
    const button = make('button', 'button', side, text);
    button.onclick = () => { request.pressed = text; send(); };
  }

  function describe() {
    const said = Object.entries(settings.controls).map(([name, { label }]) => `${label} ${inWords(request.values[name])}`);
    image.alt = `${settings.alt}: ${said.join(', ')}`;
  }

  function showRequest() {
    for (const [name, show] of Object.entries(controls)) show(request.values[name]);
    showWork(box, request.id, model.get('result').id);
    describe();
  }

  function showResult() {
    const result = model.get('result');
    if (result.image) image.src = result.image;
    problem.textContent = result.problem;
    showWork(box, request.id, result.id);
  }

  on('change:result', showResult);
  showRequest();
  showResult();
}

function inWords(value) {
  if (typeof value === 'number') return String(+value.toFixed(2));
  return typeof value === 'object' ? value.name || 'none' : value;
}
let count = 0;                                 // so that every control has a name of its own in the page

// ---- one function for each kind of control; it returns a function that shows a value

const KINDS = {
  slider(control, parent, change) {
    const { input, row } = labelled(control, parent, 'input', 'slider');
    const readout = make('output', 'readout', row);
    Object.assign(input, { type: 'range', min: control.low, max: control.high, step: control.step });
    input.oninput = () => change(+input.value, true);
    input.onchange = () => change(+input.value);
    return (value) => {
      input.value = value;
      readout.textContent = (+value).toFixed(control.digits);
    };
  },

  number(control, parent, change) {
    const { input } = labelled(control, parent, 'input', 'number');
    Object.assign(input, { type: 'number', min: control.low, max: control.high, step: 1 });
    input.onchange = () => {
      const whole = Math.round(+input.value);
      change(Math.max(control.low, Math.min(control.high, whole)));
    };
    return (value) => { input.value = value; };
  },

  menu(control, parent, change) {
    const { input } = labelled(control, parent, 'select', 'menu');
    for (const option of control.options) make('option', 'option', input, option);
    input.onchange = () => change(input.value);
    return (value) => { input.value = value; };
  },

  choice(control, parent, change) {
    const row = make('div', 'row', parent);
    const group = make('div', 'choice', row);
    const label = make('span', 'label', null, control.label);
    label.id = `agnb-control-${count += 1}`;
    row.prepend(label);
    group.setAttribute('role', 'radiogroup');
    group.setAttribute('aria-labelledby', label.id);
    const inputs = control.options.map((option) => {
      const holder = make('label', 'option', group);
      const input = make('input', 'radio', holder);
      Object.assign(input, { type: 'radio', name: group.getAttribute('aria-labelledby'), value: option });
      make('span', 'option-text', holder, option);
      input.onchange = () => change(option);
      return input;
    });
    return (value) => { for (const input of inputs) input.checked = input.value === value; };
  },

  upload(control, parent, change) {
    const { input } = labelled(control, parent, 'input', 'upload');
    Object.assign(input, { type: 'file', accept: 'image/*' });
    input.onchange = async () => {
      const [file] = input.files;
      if (file) change({ name: file.name, data: await smaller(file, control.most) });
    };
    return () => {};                           // a page may not choose a file itself
  },
};

// An image file as a data URL, upright and at most `most` pixels wide and high; '' if it is no image.
async function smaller(file, most) {
  try {
    const image = await createImageBitmap(file);
    const scale = Math.min(1, most / Math.max(image.width, image.height));
    const sheet = document.createElement('canvas');
    sheet.width = Math.max(1, Math.round(image.width * scale));
    sheet.height = Math.max(1, Math.round(image.height * scale));
    const pen = sheet.getContext('2d');
    pen.fillStyle = 'white';                   // behind transparent places
    pen.fillRect(0, 0, sheet.width, sheet.height);
    pen.drawImage(image, 0, 0, sheet.width, sheet.height);
    return sheet.toDataURL('image/jpeg', 0.95);
  } catch {
    return '';
  }
}

function labelled(control, parent, tag, kind) {
  const row = make('div', 'row', parent);
  const label = make('label', 'label', row, control.label);
  const input = make(tag, kind, row);
  input.id = label.htmlFor = `agnb-control-${count += 1}`;
  return { input, row };
}

export default live(mount);
