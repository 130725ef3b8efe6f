// The painting, the slot for a style, and the examples. `element` is the part of the page that was
// loaded; SETTINGS is filled in by page.py.
const settings = SETTINGS;
const find = (selector) => element.querySelector(selector);
const all = (selector) => [...element.querySelectorAll(selector)];

// ---------------------------------------------------------------------------------------- painting

const canvas = find(".sf-canvas canvas");
const ring = find(".sf-ring");
const paint = canvas.getContext("2d", { willReadFrequently: true });
const radios = all(".sf-colour");
const phrases = all(".sf-phrase");
const brush = find(".sf-brush");
const eraser = find(".sf-eraser");
const past = [];
let last = null;

const erasing = () => eraser.getAttribute("aria-pressed") === "true";
const erase = (on) => eraser.setAttribute("aria-pressed", String(on));

function keep() {
  past.push(paint.getImageData(0, 0, canvas.width, canvas.height));
  if (past.length > 20) past.shift();
}

function at(event) {
  const box = canvas.getBoundingClientRect();
  const scale = canvas.width / box.width;
  return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
}

function stroke(from, to) {
  paint.globalCompositeOperation = erasing() ? "destination-out" : "source-over";
  paint.strokeStyle = settings.palette[radios.findIndex((r) => r.checked)];
  paint.lineWidth = Number(brush.value);
  paint.lineCap = paint.lineJoin = "round";
  paint.beginPath();
  paint.moveTo(...from);
  paint.lineTo(to[0], to[1] + 0.01); // a line of no length would leave no dot
  paint.stroke();
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
  keep();
  last = at(event);
  stroke(last, last);
});
canvas.addEventListener("pointermove", (event) => {
  const box = canvas.getBoundingClientRect();
  const wide = (Number(brush.value) * box.width) / canvas.width;
  ring.style.width = ring.style.height = `${wide}px`;
  ring.style.left = `${event.clientX - box.left}px`;
  ring.style.top = `${event.clientY - box.top}px`;
  if (last === null) return;
  for (const one of event.getCoalescedEvents?.() ?? [event]) {
    const here = at(one);
    stroke(last, here);
    last = here;
  }
});
for (const kind of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(kind, () => { last = null; });
}

function choose(k) {
  radios[k].checked = true;
  erase(false);
}
radios.forEach((radio, k) => radio.addEventListener("change", () => choose(k)));
phrases.forEach((box, k) => box.addEventListener("focus", () => choose(k)));
eraser.addEventListener("click", () => erase(!erasing()));
find(".sf-undo").addEventListener("click", () => {
  if (past.length) paint.putImageData(past.pop(), 0, 0);
});

function clear() {
  keep();
  paint.clearRect(0, 0, canvas.width, canvas.height);
}
find(".sf-clear").addEventListener("click", clear);

function painting() {
  const values = paint.getImageData(0, 0, canvas.width, canvas.height).data;
  for (let i = 3; i < values.length; i += 4) {
    if (values[i]) return canvas.toDataURL("image/png");
  }
  return "";
}

// ------------------------------------------------------------------------------------------- style

const chooser = find(".sf-chooser");
const drop = find(".sf-drop");
const shown = find(".sf-shown");
const remove = find(".sf-remove");
const wrong = find(".sf-wrong");
let style = "";

function show(url) {
  style = url;
  shown.hidden = remove.hidden = !url;
  drop.classList.toggle("sf-full", Boolean(url));
  if (url) shown.src = url;
  else shown.removeAttribute("src");
}

const text = (blob) =>
  new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => failed(reader.error);
    reader.readAsDataURL(blob);
  });

// Large pictures are made smaller here: the encoder sees a small square of them.
async function smaller(file) {
  const picture = await createImageBitmap(file);
  const scale = settings.side / Math.max(picture.width, picture.height);
  if (scale >= 1 && file.size <= settings.bytes) return text(file);
  const small = document.createElement("canvas");
  small.width = Math.max(1, Math.round(picture.width * Math.min(1, scale)));
  small.height = Math.max(1, Math.round(picture.height * Math.min(1, scale)));
  small.getContext("2d").drawImage(picture, 0, 0, small.width, small.height);
  return small.toDataURL("image/png");
}

async function take(file) {
  wrong.textContent = "";
  if (!file) return;
  try {
    if (!settings.kinds.includes(file.type)) throw new Error(`${file.name} is no PNG, JPEG or WEBP`);
    if (file.size > settings.most) {
      throw new Error(`${file.name} is too large; ${settings.most / 1e6} MB are the most`);
    }
    show(await smaller(file).catch(() => {
      throw new Error(`${file.name} cannot be read; it may be damaged`);
    }));
  } catch (error) {
    show("");
    wrong.textContent = error.message;
  }
}

chooser.addEventListener("change", () => {
  take(chooser.files[0]);
  chooser.value = ""; // the same file may be chosen again
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("sf-over", kind === "dragover");
    if (kind === "drop") take(event.dataTransfer.files[0]);
  });
}
remove.addEventListener("click", () => {
  wrong.textContent = "";
  show("");
});

// ------------------------------------------------------------------------------- for the page's own

window.sfumato = {
  // What the button sends: the page's values, of which these three are the painting and the style.
  send: (values) => {
    const said = phrases.map((box) => box.value.trim());
    return [...values.slice(0, 2), said, painting(), style, ...values.slice(5)];
  },
  // What is left of a drawing that was stopped.
  stopped: () => {
    for (const left of document.querySelectorAll(".sf-waiting .sf-bar, .sf-waiting .sf-place")) {
      left.remove();
    }
    const said = document.querySelector(".sf-waiting .sf-said");
    if (said) said.textContent = "stopped";
  },
  // Paints an example and returns its sentence.
  example: (k) => {
    const { prompt, paint: spots } = settings.examples[k];
    clear();
    phrases.forEach((box, i) => { box.value = spots[i]?.phrase ?? ""; });
    paint.globalCompositeOperation = "source-over";
    spots.forEach(({ x, y, across, down }, i) => {
      paint.fillStyle = settings.palette[i];
      paint.beginPath();
      const side = canvas.width;
      paint.ellipse(x * side, y * side, across * side, down * side, 0, 0, 2 * Math.PI);
      paint.fill();
    });
    choose(0);
    return prompt;
  },
};
