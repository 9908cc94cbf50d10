/** The HTTP API, as this page uses it. */

import { isClip, sizeText } from "./pictures.js";

const TOKEN = "dpenet-token";
const BUSY = new Set([429, 503]);

/** The largest files that the server takes, in bytes; known once the models were listed. */
const most = { picture: Infinity, clip: Infinity };

/** What the server answered instead of a result. */
export class ApiError extends Error {
  constructor(status, message, { requestId = "", retryAfter = 0 } = {}) {
    super(message);
    this.status = status;
    this.requestId = requestId;
    this.retryAfter = retryAfter; // seconds; 0: trying again does not help
  }
}

export function setToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

/** Forget the token, which was not accepted; false if there is none. */
export function dropToken() {
  const had = sessionStorage.getItem(TOKEN) !== null;
  sessionStorage.removeItem(TOKEN);
  return had;
}

function authorization() {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

async function errorOf(status, text, header) {
  let error = {};
  try {
    error = JSON.parse(text).error ?? {};
  } catch {
    // not from the API: a proxy's page, say
  }
  const retryAfter = BUSY.has(status) ? Number(header("Retry-After")) || 1 : 0;
  const message = error.message ?? `the server answered ${status}`;
  return new ApiError(status, message, { requestId: error.request_id, retryAfter });
}

/** Ask for what there is to choose from. */
export async function getModels() {
  const answer = await fetch("v1/models", { headers: authorization() });
  const text = await answer.text();
  if (!answer.ok) throw await errorOf(answer.status, text, (name) => answer.headers.get(name));
  const list = JSON.parse(text);
  most.picture = list.max_bytes;
  most.clip = list.max_clip_bytes;
  return list;
}

/** Whoever sends too much may find the connection closed before the reason is told. */
function checkSize(file) {
  const limit = isClip(file) ? most.clip : most.picture;
  if (file.size > limit)
    throw new ApiError(413, `it has ${sizeText(file.size)}, and the server takes ${sizeText(limit)}`);
}

/**
 * Have a picture or a clip derained.
 *
 * @param {Blob} file
 * @param {Object<string, string>} options - the query: model, precision, strength.
 * @param {object} hooks
 * @param {AbortSignal} hooks.signal - aborts it.
 * @param {(share: number) => void} hooks.onUpload - how much was sent, 0 to 1.
 * @returns {Promise<{blob: Blob, model: string, precision: string}>} the file as the server wrote
 *   it, and what it used.
 * @throws {ApiError} if the server says no, or cannot be reached (status 0).
 */
export async function derain(file, options, { signal, onUpload }) {
  checkSize(file);
  // Not fetch: it does not tell how much was sent.
  const request = new XMLHttpRequest();
  const header = (name) => request.getResponseHeader(name);
  return new Promise((resolve, reject) => {
    request.open("POST", `v1/derain?${new URLSearchParams(options)}`);
    request.responseType = "blob";
    for (const [name, value] of Object.entries(authorization()))
      request.setRequestHeader(name, value);
    // What it is, the server sees from its content.
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = ({ loaded, total }) => onUpload(loaded / total);
    request.upload.onload = () => onUpload(1);
    request.onload = async () => {
      if (request.status === 200)
        resolve({
          blob: request.response,
          model: header("X-Model"),
          precision: header("X-Precision"),
        });
      else reject(await errorOf(request.status, await request.response.text(), header));
    };
    request.onerror = () => {
      reject(new ApiError(0, "the connection broke: is the server running, and is the file there?"));
    };
    request.onabort = () => reject(signal.reason);
    signal.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}
