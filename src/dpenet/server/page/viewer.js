/** Before and after in one frame: a divider to drag, zoom and pan. */

const MOST_ZOOM = 16;
const STEP = 1.25;
const PAN_STEP = 60;
/** From this many device pixels per pixel of the picture, its pixels are shown as squares. */
const SQUARES_FROM = 3;
const LINE_HEIGHT = 16;
/** Pixels beside the divider that a label needs. */
const LABEL_ROOM = 96;

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

export class Viewer {
  #stage; #sheet; #split; #before; #after; #changed;
  #width = 0;
  #height = 0;
  #scale = 1; // CSS pixels per pixel of the picture
  #x = 0;
  #y = 0;
  #position = 0.5; // of the divider, over the part of the picture that is in sight
  #fitted = true;
  #pointers = new Map();
  #dragging = null; // "split" or "pan"

  /**
   * @param {Object<string, HTMLElement>} elements - stage, sheet, split, before and after.
   * @param {() => void} changed - called after every change of zoom.
   */
  constructor({ stage, sheet, split, before, after }, changed) {
    this.#stage = stage;
    this.#sheet = sheet;
    this.#split = split;
    this.#before = before;
    this.#after = after;
    this.#changed = changed;
    new ResizeObserver(() => this.#layout()).observe(stage);
    stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    stage.addEventListener("pointerdown", (event) => this.#down(event));
    stage.addEventListener("pointermove", (event) => this.#move(event));
    for (const type of ["pointerup", "pointercancel"])
      stage.addEventListener(type, (event) => this.#up(event));
    stage.addEventListener("dblclick", (event) => {
      if (this.#fitted) this.zoomTo(1, event);
      else this.fit();
    });
    stage.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Device pixels per pixel of the picture. */
  get zoom() {
    return this.#scale * devicePixelRatio;
  }

  get fitted() {
    return this.#fitted;
  }

  /** Begin with a picture of this many pixels, all of it in sight. */
  open(width, height) {
    this.#width = width;
    this.#height = height;
    // On a phone the frame takes the shape of the picture.
    this.#stage.parentElement.style.setProperty("--shape", width / height);
    this.#position = 0.5;
    this.fit();
  }

  /** What to show: compare, before, after or rain. */
  set view(view) {
    this.#stage.dataset.view = view;
    this.#layout();
  }

  fit() {
    this.#fitted = true;
    this.#layout();
  }

  /** Zoom by a number of steps, about the middle. */
  step(steps) {
    this.zoomTo(this.zoom * STEP ** steps);
  }

  /**
   * @param {number} zoom - device pixels per pixel of the picture.
   * @param {{clientX: number, clientY: number}} [about] - the point that stays where it is.
   */
  zoomTo(zoom, about) {
    const frame = this.#stage.getBoundingClientRect();
    const x = about ? about.clientX - frame.left : frame.width / 2;
    const y = about ? about.clientY - frame.top : frame.height / 2;
    const least = Math.min(this.#fitScale(), 1 / devicePixelRatio);
    const scale = clamp(zoom / devicePixelRatio, least, MOST_ZOOM / devicePixelRatio);
    this.#x = x - ((x - this.#x) * scale) / this.#scale;
    this.#y = y - ((y - this.#y) * scale) / this.#scale;
    this.#scale = scale;
    this.#fitted = Math.abs(scale / this.#fitScale() - 1) < 1e-3;
    this.#layout();
  }

  #fitScale() {
    const { clientWidth, clientHeight } = this.#stage;
    return Math.min(clientWidth / this.#width, clientHeight / this.#height);
  }

  #layout() {
    if (!this.#width || !this.#stage.clientWidth) return;
    const { clientWidth, clientHeight } = this.#stage;
    if (this.#fitted) this.#scale = this.#fitScale();
    const width = this.#width * this.#scale;
    const height = this.#height * this.#scale;
    // Centred where there is room, else without a gap; on whole device pixels, to be sharp at 100 %.
    const place = (at, size, room) => {
      const free = room - size;
      const wanted = free > 0 ? free / 2 : clamp(at, free, 0);
      return Math.round(wanted * devicePixelRatio) / devicePixelRatio;
    };
    this.#x = place(this.#x, width, clientWidth);
    this.#y = place(this.#y, height, clientHeight);
    const { left, right, top, bottom } = this.#inSight();
    const line = Math.round(left + this.#position * (right - left));
    const stage = this.#stage.style;
    stage.setProperty("--left", `${left}px`);
    stage.setProperty("--right", `${clientWidth - right}px`);
    stage.setProperty("--top", `${top}px`);
    stage.setProperty("--bottom", `${clientHeight - bottom}px`);
    this.#stage.classList.toggle("little-before", line - left < LABEL_ROOM);
    this.#stage.classList.toggle("little-after", right - line < LABEL_ROOM);
    const sheet = this.#sheet.style;
    sheet.width = `${width}px`;
    sheet.height = `${height}px`;
    sheet.transform = `translate(${this.#x}px, ${this.#y}px)`;
    this.#sheet.classList.toggle("squares", this.zoom >= SQUARES_FROM);
    this.#split.style.left = `${line}px`;
    // Each is cut, so that what is transparent in one does not show the other.
    const comparing = this.#stage.dataset.view === "compare";
    this.#before.style.clipPath = comparing ? `inset(0 ${width - line + this.#x}px 0 0)` : "";
    this.#after.style.clipPath = comparing ? `inset(0 0 0 ${line - this.#x}px)` : "";
    const percent = Math.round(this.#position * 100);
    this.#split.setAttribute("aria-valuenow", percent);
    this.#split.setAttribute("aria-valuetext", `${percent} % before`);
    this.#stage.classList.toggle("pannable", width > clientWidth + 1 || height > clientHeight + 1);
    this.#changed();
  }

  /** Edges, within the stage, of the part of the picture that is in sight. */
  #inSight() {
    const { clientWidth, clientHeight } = this.#stage;
    return {
      left: Math.max(0, this.#x),
      right: Math.min(clientWidth, this.#x + this.#width * this.#scale),
      top: Math.max(0, this.#y),
      bottom: Math.min(clientHeight, this.#y + this.#height * this.#scale),
    };
  }

  #setPosition(position) {
    this.#position = clamp(position, 0, 1);
    this.#layout();
  }

  #dividerTo(clientX) {
    const { left, right } = this.#inSight();
    const x = clientX - this.#stage.getBoundingClientRect().left;
    this.#setPosition((x - left) / (right - left));
  }

  #pan(dx, dy) {
    this.#x += dx;
    this.#y += dy;
    this.#layout();
  }

  #wheel(event) {
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === 1 ? LINE_HEIGHT : 1);
    // A pinch on a touch pad comes as a wheel with ctrl, in smaller steps.
    this.zoomTo(this.zoom * Math.exp(-pixels * (event.ctrlKey ? 0.01 : 0.002)), event);
  }

  #down(event) {
    if (event.button !== 0 || event.target.closest("button")) return;
    this.#stage.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, event);
    const comparing = this.#stage.dataset.view === "compare";
    const pannable = this.#stage.classList.contains("pannable");
    if (this.#pointers.size > 1) this.#dragging = null;
    else if (comparing && (this.#split.contains(event.target) || !pannable)) this.#dragging = "split";
    else this.#dragging = "pan";
    if (this.#dragging === "split") {
      this.#split.focus({ preventScroll: true });
      this.#dividerTo(event.clientX);
      event.preventDefault();
    }
  }

  #move(event) {
    const last = this.#pointers.get(event.pointerId);
    if (!last) return;
    const others = [...this.#pointers.values()].filter((p) => p.pointerId !== event.pointerId);
    this.#pointers.set(event.pointerId, event);
    if (others.length) this.#pinch(last, event, others[0]);
    else if (this.#dragging === "split") this.#dividerTo(event.clientX);
    else if (this.#dragging === "pan")
      this.#pan(event.clientX - last.clientX, event.clientY - last.clientY);
  }

  #pinch(last, now, other) {
    const spread = (p) => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY);
    const middle = {
      clientX: (now.clientX + other.clientX) / 2,
      clientY: (now.clientY + other.clientY) / 2,
    };
    this.#x += (now.clientX - last.clientX) / 2;
    this.#y += (now.clientY - last.clientY) / 2;
    this.zoomTo((this.zoom * spread(now)) / Math.max(spread(last), 1), middle);
  }

  #up(event) {
    this.#pointers.delete(event.pointerId);
    this.#dragging = null;
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const onSplit = this.#split.contains(event.target);
    const act = this.#common(event.key) ?? (onSplit ? this.#divide(event) : this.#shift(event.key));
    if (!act) return;
    event.preventDefault();
    act();
  }

  #common(key) {
    return {
      "+": () => this.step(1),
      "=": () => this.step(1),
      "-": () => this.step(-1),
      0: () => this.fit(),
      1: () => this.zoomTo(1),
    }[key];
  }

  #divide({ key, shiftKey }) {
    const by = (step) => () => this.#setPosition(this.#position + step);
    const step = shiftKey ? 0.1 : 0.01;
    return {
      ArrowLeft: by(-step),
      ArrowDown: by(-step),
      ArrowRight: by(step),
      ArrowUp: by(step),
      PageDown: by(-0.1),
      PageUp: by(0.1),
      Home: () => this.#setPosition(0),
      End: () => this.#setPosition(1),
    }[key];
  }

  #shift(key) {
    if (!this.#stage.classList.contains("pannable")) return undefined;
    return {
      ArrowLeft: () => this.#pan(PAN_STEP, 0),
      ArrowRight: () => this.#pan(-PAN_STEP, 0),
      ArrowUp: () => this.#pan(0, PAN_STEP),
      ArrowDown: () => this.#pan(0, -PAN_STEP),
    }[key];
  }
}
