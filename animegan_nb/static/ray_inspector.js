// The browser's half of RayInspector (chapter 50_raymarch): pointer or arrow keys choose a pixel of the image.
//   size: [rows, columns]    request: { pixel: [row, column] }    result: { image, plot, alt, problem }

function mount({ model, box, on, signal }) {
  const [rows, columns] = model.get('size');
  box.classList.add('agnb-inspector');
  const image = make('img', 'inspector-image', box);
  const plot = make('img', 'inspector-plot', box);
  const problem = problemLine(box);
  make('div', 'inspector-help', box, 'Click or drag on the image, or use the arrow keys, to choose a ray.');
  image.draggable = false;
  image.tabIndex = 0;

  const { request, send } = requests({ model, on, signal, changed: showRequest });

  function choose(row, column) {
    const inside = (index, count) => Math.max(0, Math.min(count - 1, index));
    const pixel = [inside(row, rows), inside(column, columns)];
    if (String(pixel) === String(request.pixel)) return;
    request.pixel = pixel;
    send();
  }

  function chooseUnder(event) {
    const area = image.getBoundingClientRect();
    choose(Math.floor((event.clientY - area.top) / area.height * rows),
      Math.floor((event.clientX - area.left) / area.width * columns));
  }

  let pressed = false;
  image.onpointerdown = (event) => {
    if (event.button) return;
    event.preventDefault();
    image.focus({ preventScroll: true });
    image.setPointerCapture(event.pointerId);
    pressed = true;
    chooseUnder(event);
  };
  image.onpointermove = (event) => { if (pressed) chooseUnder(event); };
  image.onpointerup = image.onpointercancel = () => { pressed = false; };

  image.onkeydown = (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    choose(request.pixel[0] + step[0], request.pixel[1] + step[1]);
  };

  function showRequest() {
    const [row, column] = request.pixel;
    image.alt = `rendered image, with a ring around the pixel in row ${row}, column ${column}; arrow keys move it`;
    showWork(box, request.id, model.get('result').id);
  }

  function showResult() {
    const result = model.get('result');
    if (result.image) [image.src, plot.src, plot.alt] = [result.image, result.plot, result.alt];
    problem.textContent = result.problem;
    showWork(box, request.id, result.id);
  }

  on('change:result', showResult);
  showRequest();
  showResult();
}

export default live(mount);
