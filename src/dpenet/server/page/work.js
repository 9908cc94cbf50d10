/** Pictures on their way through the server, one after the other. */

import { derain } from "./api.js";

const TRIES_WHEN_BUSY = 8;

const pause = (seconds, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });

/**
 * A picture or a clip, and what became of it.
 *
 * state: idle, queued, uploading, computing, waiting (the server is busy), failed or cancelled.
 */
export class Item {
  state = "idle";
  uploaded = 0; // share of the file that was sent
  since = 0; // when the state began, in milliseconds
  error = "";
  /** The last result: {blob, url, model, precision, options, seconds}; it stays until there is a newer one. */
  result = null;
  options = null;
  controller = null;

  constructor(file) {
    this.file = file;
    this.url = URL.createObjectURL(file);
  }

  get busy() {
    return ["queued", "uploading", "computing", "waiting"].includes(this.state);
  }

  /** Seconds in this state. */
  get elapsed() {
    return (performance.now() - this.since) / 1000;
  }

  /** Whether there is no result made with these options. */
  wants(options) {
    return !this.busy && JSON.stringify(this.result?.options) !== JSON.stringify(options);
  }

  setResult(result) {
    this.dropResult();
    this.result = { ...result, url: URL.createObjectURL(result.blob) };
  }

  dropResult() {
    if (this.result) URL.revokeObjectURL(this.result.url);
    this.result = null;
  }

  release() {
    this.controller?.abort();
    this.dropResult();
    URL.revokeObjectURL(this.url);
  }
}

export class Work {
  #line = [];
  #running = false;
  #changed;
  #login;

  /**
   * @param {(item: Item) => void} changed - called whenever the state of one changes.
   * @param {() => Promise<boolean>} login - asks for a token; false if there is none to be had.
   */
  constructor(changed, login) {
    this.#changed = changed;
    this.#login = login;
  }

  add(item, options) {
    item.options = options;
    item.error = "";
    item.controller = new AbortController();
    this.#line.push(item);
    this.#set(item, "queued");
    this.#run();
  }

  cancel(item) {
    item.controller.abort();
    const at = this.#line.indexOf(item);
    if (at < 0) return; // in work: its end is on its way
    this.#line.splice(at, 1);
    this.#set(item, "cancelled");
  }

  /** How many are before this one. */
  before(item) {
    return this.#line.indexOf(item) + (this.#running ? 1 : 0);
  }

  async #run() {
    if (this.#running) return;
    this.#running = true;
    while (this.#line.length) await this.#process(this.#line.shift());
    this.#running = false;
  }

  async #process(item) {
    const { signal } = item.controller;
    for (let tries = 1; ; tries++) {
      try {
        await this.#send(item, signal);
        return;
      } catch (error) {
        if (signal.aborted) return this.#set(item, "cancelled");
        if (error.retryAfter && tries < TRIES_WHEN_BUSY) {
          this.#set(item, "waiting");
          await pause(error.retryAfter, signal).catch(() => {});
          if (signal.aborted) return this.#set(item, "cancelled");
        } else if (error.status !== 401 || !(await this.#login())) {
          item.error = error.message;
          return this.#set(item, "failed");
        }
      }
    }
  }

  async #send(item, signal) {
    const start = performance.now();
    item.uploaded = 0;
    this.#set(item, "uploading");
    const result = await derain(item.file, item.options, {
      signal,
      onUpload: (share) => {
        item.uploaded = share;
        this.#set(item, share < 1 ? "uploading" : "computing");
      },
    });
    const seconds = (performance.now() - start) / 1000;
    item.setResult({ ...result, options: item.options, seconds });
    this.#set(item, "idle");
  }

  #set(item, state) {
    if (item.state !== state) item.since = performance.now();
    item.state = state;
    this.#changed(item);
  }
}
