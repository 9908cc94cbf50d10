/** The row of small pictures, one for each that was added. */

import { drawThumbnail, isClip, kindOf } from "./pictures.js";

const SAID = {
  idle: "",
  queued: "queued",
  uploading: "uploading",
  computing: "in work",
  waiting: "waiting for the server",
  failed: "failed",
  cancelled: "cancelled",
};

export class Strip {
  #list;
  #chosen;
  #tiles = new Map();
  #drawing = Promise.resolve();

  /**
   * @param {HTMLElement} list - whose last two entries add more.
   * @param {(item: Item) => void} chosen - called when one is clicked.
   */
  constructor(list, chosen) {
    this.#list = list;
    this.#chosen = chosen;
  }

  add(item) {
    const entry = document.createElement("li");
    const tile = document.createElement("button");
    tile.type = "button";
    tile.className = "tile";
    const kind = document.createElement("span");
    kind.className = "kind";
    kind.textContent = kindOf(item.file);
    const mark = document.createElement("span");
    mark.className = "mark";
    tile.append(kind, mark);
    tile.addEventListener("click", () => this.#chosen(item));
    entry.append(tile);
    this.#list.insertBefore(entry, this.#list.children[this.#tiles.size]);
    this.#tiles.set(item, entry);
    this.update(item);
    // One at a time: each is decoded at its full size.
    if (!isClip(item.file)) this.#drawing = this.#drawing.then(() => this.#draw(item, kind));
  }

  async #draw(item, kind) {
    const canvas = document.createElement("canvas");
    if (this.#tiles.has(item) && (await drawThumbnail(item.file, canvas))) kind.replaceWith(canvas);
  }

  update(item) {
    const tile = this.#tile(item);
    tile.dataset.state = item.state === "idle" && item.result ? "done" : item.state;
    const said = item.result && item.state === "idle" ? "done" : SAID[item.state];
    tile.setAttribute("aria-label", `${item.file.name}, ${said}`);
    tile.title = item.file.name;
  }

  remove(item) {
    this.#tiles.get(item).remove();
    this.#tiles.delete(item);
  }

  /** Mark the one that is open, and bring it into sight. */
  set current(item) {
    for (const [other] of this.#tiles)
      this.#tile(other).setAttribute("aria-current", String(other === item));
    const { offsetLeft, offsetWidth } = this.#tiles.get(item);
    const list = this.#list;
    if (offsetLeft < list.scrollLeft || offsetLeft + offsetWidth > list.scrollLeft + list.clientWidth)
      list.scrollLeft = offsetLeft - (list.clientWidth - offsetWidth) / 2;
  }

  #tile(item) {
    return this.#tiles.get(item).firstElementChild;
  }
}
