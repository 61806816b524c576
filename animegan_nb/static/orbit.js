// The browser's half of OrbitViewer (chapter 59_orbit): pointer, wheel and keys become requests to the kernel.
//   settings: what does not change       request: what the reader asks for       result: the images that were drawn

const degrees = (radians) => (radians * 180 / Math.PI).toFixed(0) + '°';
const clamp = (x, limit) => limit === null ? x : Math.max(-limit, Math.min(limit, x));

function mount({ model, box, on, signal }) {
  const settings = model.get('settings');
  box.classList.add('agnb-orbit-box');
  const row = make('div', 'orbit-row', box);
  const bar = make('div', 'orbit-bar', box);
  const { request, send, settle } = requests({ model, on, signal, changed: showRequest });

  // ---- the bar of channels
  const channels = settings.channels.map((channel) => {
    const button = make('button', 'orbit-channel', bar, channel);
    button.onclick = () => { request.channel = channel; send(); };
    return button;
  });
  make('button', 'orbit-reset', bar, 'reset').onclick = home;
  const position = make('span', 'orbit-position', bar);
  const problem = problemLine(box);
  problem.classList.add('agnb-orbit-problem');

  // ---- how the camera moves
  function turn(yaw, pitch) {
    request.yaw = clamp(request.yaw + yaw, settings.yaw_limit);
    request.pitch = clamp(request.pitch + pitch, settings.pitch_limit);
    settle();
  }

  function zoom(notches) {
    const tangent = Math.tan(request.fov * Math.PI / 360) * 1.1 ** notches;
    const [low, high] = settings.fov_range;
    request.fov = Math.max(low, Math.min(high, Math.atan(tangent) * 360 / Math.PI));
    settle();
  }

  function home() {
    [request.yaw, request.pitch, request.fov] = settings.home;
    for (const name in settings.sliders) request.amounts[name] = settings.sliders[name][2];
    send();
  }

  // ---- the images: drag, wheel, double click, keys
  let dragged = null;

  const images = settings.names.map((name, i) => {
    const tile = make('figure', 'orbit-tile', row);
    const image = make('img', 'orbit-image', tile);
    make('figcaption', 'orbit-name', tile, name);
    image.draggable = false;
    image.tabIndex = 0;
    image.title = 'Drag to turn, wheel to zoom; arrow keys, plus, minus and Home do the same.';
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
      send();
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
    if (!keys[event.key] || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    keys[event.key]();
  };

  // ---- the sliders of the sources
  const amounts = make('div', 'orbit-amounts', box);
  const sliders = {};
  for (const [name, [low, high]] of Object.entries(settings.sliders)) {
    const slider = make('input', 'orbit-amount', make('label', 'orbit-slider', amounts, name));
    Object.assign(slider, { type: 'range', min: low, max: high, step: (high - low) / 120 });
    const read = () => { request.amounts[name] = +slider.value; };
    slider.oninput = () => { read(); settle(); };
    sliders[name] = slider;
  }

  // ---- what is shown
  function showRequest() {
    const { yaw, pitch, fov, channel } = request;
    const where = `yaw ${degrees(yaw)}, pitch ${degrees(pitch)}, field of view ${fov.toFixed(1)}°`;
    position.textContent = where;
    images.forEach((image, i) => { image.alt = `${settings.names[i]}, ${channel}, ${where}`; });
    channels.forEach((button) => button.setAttribute('aria-pressed', button.textContent === channel));
    for (const [name, slider] of Object.entries(sliders)) slider.value = request.amounts[name];
    showWork(box, request.id, model.get('result').id);
  }

  function showResult() {
    const result = model.get('result');
    result.images.forEach((url, i) => { images[i].src = url; });
    problem.textContent = result.problem;
    box.dataset.count = result.count;
    box.dataset.size = result.size;
    showWork(box, request.id, result.id);
  }

  on('change:result', showResult);
  showResult();
  showRequest();
}

export default live(mount);
