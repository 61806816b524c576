// What all widgets share (chapter 12_widgets). Python puts this text before the script of a widget.

function make(tag, name, parent, text = '') {
  const element = document.createElement(tag);
  element.className = 'agnb-' + name;
  element.textContent = text;
  if (parent) parent.append(element);
  return element;
}

// The two entries of an anywidget. `mount({ model, box, on, signal })` fills `box`; `on(event, f)` listens to the model
// and stops when the widget goes, as does everything that is given `signal`.
function live(mount) {
  function start(model, box) {
    const end = new AbortController();
    const on = (event, f) => {
      model.on(event, f);
      end.signal.addEventListener('abort', () => model.off(event, f));
    };
    keepKeys(box);
    mount({ model, box, on, signal: end.signal });
    return () => end.abort();
  }
  return {
    initialize: ({ model, signal }) => takePlaces(model, start, signal),
    render: ({ model, el }) => start(model, make('div', 'live', el)),
  };
}

// Keys belong to the widget while it has the focus, except those with Ctrl or Command, such as Ctrl+S.
function keepKeys(box) {
  box.setAttribute('data-lm-suppress-shortcuts', 'true');
  box.addEventListener('keydown', (event) => {
    event.stopPropagation();                   // the notebook would prevent what the arrow keys do in a menu or slider
    if (!event.ctrlKey && !event.metaKey) return;
    if (!box.parentElement.dispatchEvent(new KeyboardEvent('keydown', event))) event.preventDefault();
  });
}

// ---- the place of a widget: an image in the page that carries the widget's key

function carries(image, key) {
  const [head, data] = image.src.split(',', 2);
  return head.endsWith(';base64') && atob(data.slice(0, 400)).includes(key);
}

// Wherever the image is shown, the widget stands in its place, as long as the kernel lives.
function takePlaces(model, start, signal) {
  const key = model.get('key');
  const places = new Map();                    // the element that holds an image → { box, end, focused }

  function enter(image) {
    const holder = image.parentElement;
    if (!holder || !carries(image, key)) return;
    image.style.display = 'none';
    const place = places.get(holder);
    if (!place) {
      const box = make('div', 'live', holder);
      const place = { box, end: start(model, box), focused: null };
      box.addEventListener('focusin', (event) => { place.focused = event.target; });
      box.addEventListener('focusout', () => { place.focused = null; });
      places.set(holder, place);
    } else if (!place.box.isConnected) {       // a newer image has replaced the content of its holder
      const { box, focused } = place;
      holder.append(box);
      focused?.focus({ preventScroll: true });
    }
  }

  function leave(holder) {
    const { box, end } = places.get(holder);
    places.delete(holder);
    end();
    box.remove();
    for (const image of holder.querySelectorAll('img')) image.style.display = '';
  }

  function look(changes) {
    for (const { addedNodes } of changes) {
      for (const node of addedNodes) {
        if (node.nodeName === 'IMG') enter(node);
        else if (node.querySelectorAll) node.querySelectorAll('img').forEach(enter);
      }
    }
    for (const [holder, { box }] of places) if (!holder.isConnected || !box.isConnected) leave(holder);
  }

  const watcher = new MutationObserver(look);

  function begin() {
    document.querySelectorAll('img').forEach(enter);
    watcher.observe(document.body, { childList: true, subtree: true });
  }

  function end() {
    watcher.disconnect();
    [...places.keys()].forEach(leave);
  }

  model.on('comm_live_update', async () => {   // the kernel was restarted, or is there again
    end();
    if ((await model.widget_manager.get_model(key)).comm_live) begin();
  });
  signal.addEventListener('abort', end);
  begin();
}

// ---- requests: what the reader asks for; Python answers with `result`

// `send(moving)` asks now; `settle()` asks for a coarse image now and for a fine one when nothing has moved for a while.
function requests({ model, on, signal, changed }) {
  const request = structuredClone(model.get('request'));
  let timer = 0;
  signal.addEventListener('abort', () => clearTimeout(timer));

  function send(moving = false) {
    clearTimeout(timer);
    request.moving = moving;
    request.id += 1;
    model.set('request', structuredClone(request));
    model.save_changes();
    changed();
  }

  function settle() {
    send(true);
    timer = setTimeout(send, 250);
  }

  on('change:request', () => {                 // the same widget, shown twice
    const newest = model.get('request');
    if (newest.id === request.id) return;
    Object.assign(request, structuredClone(newest));
    changed();
  });
  return { request, send, settle };
}

// A line for the one sentence that says what went wrong.
function problemLine(parent) {
  const line = make('div', 'problem', parent);
  line.setAttribute('role', 'alert');
  return line;
}

// Say that the widget is at work, if the answer to the newest request is not there yet.
function showWork(box, asked, answered) {
  box.dataset.request = asked;
  box.dataset.shown = answered;
  box.setAttribute('aria-busy', asked !== answered);
}
