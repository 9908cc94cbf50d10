/** The picture that is open: what is shown of it, and what can be done with it. */

import { playTogether } from "./clips.js";
import { drawRain, isClip, kindOf, resultName, sizeText } from "./pictures.js";
import { Viewer } from "./viewer.js";

const $ = (id) => document.getElementById(id);
const TICK = 100; // milliseconds between two looks at the clock

const NOT_SHOWN = (kind) => `Browsers cannot show ${kind} files. `;

/** Load a picture into an element; false if this browser cannot show it. */
async function load(image, url) {
  if (image.src !== url) image.src = url;
  try {
    await image.decode();
    return true;
  } catch {
    return false;
  }
}

export class Bench {
  #viewer;
  #item = null;
  #work;
  #opened = ""; // addresses of the before and after that are shown
  #opening = null; // until they are
  #framed = ""; // address of the picture that the viewer has the size of
  #shown = { before: false, after: false };
  #rain = null; // aborts the drawing of the layer; null if it is not drawn
  #busy = 0; // how much is being opened or drawn

  /** @param {Work} work - says how many are before one. */
  constructor(work) {
    this.#work = work;
    const [stage, sheet, split, before, after] = [
      "stage", "sheet", "split", "before", "after",
    ].map($);
    this.#viewer = new Viewer({ stage, sheet, split, before, after }, () => this.#showZoom());
    playTogether($("clip-before"), $("clip-after"));
    $("zoom-in").addEventListener("click", () => this.#viewer.step(1));
    $("zoom-out").addEventListener("click", () => this.#viewer.step(-1));
    $("zoom-fit").addEventListener("click", () => this.#viewer.fit());
    $("zoom-full").addEventListener("click", () => this.#viewer.zoomTo(1));
    $("views").addEventListener("change", () => this.#showView());
    setInterval(() => this.#item?.busy && this.#showWork(), TICK);
  }

  get item() {
    return this.#item;
  }

  /** Show a picture in its present state; what depends on its pixels follows, and then busy ends. */
  show(item) {
    return this.#busyUntil(this.#show(item));
  }

  async #busyUntil(end) {
    this.#busy++;
    $("bench").ariaBusy = "true";
    try {
      await end;
    } finally {
      this.#busy--;
      if (!this.#busy) $("bench").ariaBusy = "false";
    }
  }

  async #show(item) {
    if (item !== this.#item) $("notice").hidden = true;
    this.#item = item;
    $("name").textContent = item.file.name;
    this.#showWork();
    this.#showDownload();
    const urls = `${item.url} ${item.result?.url}`;
    if (urls !== this.#opened) {
      this.#opened = urls;
      const ours = () => this.#opened === urls;
      this.#opening = isClip(item.file) ? this.#openClip(item) : this.#openPicture(item, ours);
    }
    await this.#opening;
    if (urls !== this.#opened) return;
    this.#showNotice();
    this.#showFacts();
  }

  close() {
    this.#item = null;
    this.#opened = "";
    this.#rain?.abort();
  }

  async #openPicture(item, ours) {
    $("clips").hidden = true;
    for (const name of ["before", "after"]) $(`clip-${name}`).removeAttribute("src");
    this.#rain?.abort();
    this.#rain = null;
    const [before, after] = [$("before"), $("after")];
    const isNew = this.#framed !== item.url;
    $("stage").classList.toggle("loading", isNew);
    const shown = {
      before: await load(before, item.url),
      after: item.result !== null && (await load(after, item.result.url)),
    };
    if (!ours()) return;
    this.#shown = shown;
    before.alt = item.file.name;
    after.alt = `${item.file.name} without rain`;
    const { naturalWidth, naturalHeight } = shown.before ? before : after;
    if (isNew && naturalWidth) {
      this.#viewer.open(naturalWidth, naturalHeight);
      this.#framed = item.url;
    }
    $("stage").classList.remove("loading");
    $("stage").hidden = !shown.before && !shown.after;
    $("views").disabled = !(shown.before && shown.after);
    this.#showView();
  }

  #openClip(item) {
    this.#shown = { before: true, after: true };
    $("stage").hidden = $("views").disabled = true;
    $("clips").hidden = false;
    const [before, after] = [$("clip-before"), $("clip-after")];
    if (before.src !== item.url) before.src = item.url;
    if (item.result) after.src = item.result.url;
    else after.removeAttribute("src");
    for (const clip of [before, after])
      clip.onerror = () => {
        this.#shown[clip === before ? "before" : "after"] = false;
        $("clips").hidden = !this.#shown.before && !(item.result && this.#shown.after);
        this.#showNotice();
      };
  }

  /** Of the four views the one that is wanted, or what there is. */
  #showView() {
    const { before, after } = this.#shown;
    const wanted = $("views").querySelector(":checked").value;
    this.#viewer.view = before && after ? wanted : after ? "after" : "before";
    if (wanted === "rain" && before && after && this.#rain === null) {
      this.#rain = new AbortController();
      this.#busyUntil(drawRain($("before"), $("after"), $("rain"), this.#rain.signal));
    }
  }

  #showZoom() {
    const percent = Math.round(this.#viewer.zoom * 100);
    $("zoom").textContent = `${percent} %`;
    $("zoom-fit").setAttribute("aria-pressed", String(this.#viewer.fitted));
    $("zoom-full").setAttribute("aria-pressed", String(percent === 100));
  }

  #showWork() {
    const item = this.#item;
    $("work").hidden = !item.busy;
    $("stage").classList.toggle("computing", item.state === "computing");
    if (!item.busy) return;
    const before = this.#work.before(item);
    const text = {
      queued: `Queued, ${before} before it`,
      uploading: `Uploading, ${Math.round(item.uploaded * 100)} %`,
      computing: `Removing rain, ${item.elapsed.toFixed(item.elapsed < 10 ? 1 : 0)} s`,
      waiting: "The server is busy, it will be tried again",
    }[item.state];
    if ($("work-text").textContent !== text) $("work-text").textContent = text;
    const bar = $("work-bar");
    if (item.state === "uploading") bar.value = item.uploaded;
    else bar.removeAttribute("value");
  }

  #showNotice() {
    const item = this.#item;
    const { before, after } = this.#shown;
    const kind = kindOf(item.file);
    let text = null;
    if (item.state === "failed") text = ["The rain was not removed", item.error];
    else if (item.state === "cancelled") text = ["Cancelled", "Nothing was changed."];
    else if (item.result && !after) text = ["Done", `${NOT_SHOWN(kind)}Download it to see the result.`];
    else if (!item.result && !before) text = [kind, `${NOT_SHOWN(kind)}The rain is removed all the same.`];
    const notice = $("notice");
    notice.hidden = text === null;
    notice.classList.toggle("bad", item.state === "failed");
    if (!text) return;
    for (const [i, line] of [...notice.children].entries()) line.textContent = text[i];
  }

  #showFacts() {
    const { file, result } = this.#item;
    const image = this.#shown.before ? $("before") : $("after");
    const facts = [kindOf(file), sizeText(file.size)];
    if (!isClip(file) && (this.#shown.before || this.#shown.after))
      facts.unshift(`${image.naturalWidth} × ${image.naturalHeight}`);
    $("facts").textContent = facts.join(" · ");
    if (!result) return;
    const how = [result.model, result.precision, `${result.seconds.toFixed(1)} s`];
    $("facts").append(document.createElement("br"), how.filter(Boolean).join(" · "));
  }

  #showDownload() {
    const { file, result, busy } = this.#item;
    const download = $("download");
    // While there is none yet, it keeps its place.
    download.hidden = !result && !busy;
    if (!result) return download.removeAttribute("href");
    download.href = result.url;
    download.download = resultName(file.name, result.blob.type);
  }
}
