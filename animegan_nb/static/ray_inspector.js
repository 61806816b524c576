// The browser's half of RayInspector (chapter 50_raymarch): a click on the image chooses a pixel.
//   image, plot: data URLs       size: [rows, columns]       pixel: [row, column]

const place = (share, count) => Math.max(0, Math.min(count - 1, Math.floor(share * count)));

function render({ model, el }) {
  const box = document.createElement('div');
  const image = document.createElement('img');
  const plot = document.createElement('img');
  box.className = 'agnb-inspector';
  image.className = 'agnb-inspector-image';
  plot.className = 'agnb-inspector-plot';
  image.alt = 'rendered image: click a pixel';
  plot.alt = 'density, transmittance and weight along the ray';
  image.draggable = false;
  box.append(image, plot);
  el.append(box);

  function show() {
    image.src = model.get('image');
    plot.src = model.get('plot');
  }

  function choose(event) {
    const area = image.getBoundingClientRect();
    const [rows, columns] = model.get('size');
    const row = place((event.clientY - area.top) / area.height, rows);
    const column = place((event.clientX - area.left) / area.width, columns);
    model.set('pixel', [row, column]);
    model.save_changes();
  }

  let pressed = false;
  image.addEventListener('pointerdown', (event) => { pressed = true; choose(event); });
  image.addEventListener('pointermove', (event) => { if (pressed) choose(event); });
  window.addEventListener('pointerup', () => { pressed = false; });

  model.on('change:image', show);
  model.on('change:plot', show);
  show();
}

export default { render };
