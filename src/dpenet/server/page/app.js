/** The page: pictures come in, are derained one after the other, and can be saved. */

import { ApiError, dropToken, getModels, setToken } from "./api.js";
import { Bench } from "./bench.js";
import { takePicture } from "./camera.js";
import { distinctNames, resultName } from "./pictures.js";
import { Strip } from "./strip.js";
import { Item, Work } from "./work.js";
import { zip } from "./zip.js";

const TOAST_SECONDS = 10;
const PRECISIONS = {
  "": "What the server prefers.",
  fp32: "Full precision.",
  bf16: "Half the bits: faster where the processor can.",
  fp16: "Half the bits: faster where the processor can.",
  int8: "The fastest. Measured differences to fp32 are small.",
};

const $ = (id) => document.getElementById(id);
const all = (selector) => document.querySelectorAll(selector);

const items = [];
let models = [];

const work = new Work(onChange, login);
const bench = new Bench(work);
const strip = new Strip($("strip"), open);

// ---------------------------------------------------------------- pictures

function add(files) {
  if (!files.length) return;
  const added = [...files].map((file) => new Item(file));
  const isFirst = !items.length;
  for (const item of added) {
    items.push(item);
    strip.add(item);
    work.add(item, options());
  }
  document.body.dataset.view = "bench";
  open(added[0]);
  if (isFirst) $("name").focus({ preventScroll: true });
}

function open(item) {
  strip.current = item;
  bench.show(item);
  showActions();
}

function remove(item) {
  const at = items.indexOf(item);
  items.splice(at, 1);
  if (item.busy) work.cancel(item);
  item.release();
  strip.remove(item);
  if (items.length) {
    open(items[Math.min(at, items.length - 1)]);
    $("name").focus({ preventScroll: true });
  } else {
    bench.close();
    document.body.dataset.view = "welcome";
    document.querySelector(".drop .choose").focus();
  }
}

function onChange(item) {
  if (!items.includes(item)) return;
  strip.update(item);
  if (item === bench.item) bench.show(item);
  if (item.state === "failed") say(`${item.file.name} failed: ${item.error}`);
  else if (item.state === "idle") say(`${item.file.name}: the rain is removed`);
  showActions();
}

function showActions() {
  const { item } = bench;
  if (!item) return;
  const wanted = options();
  const wanting = items.filter((other) => other.wants(wanted));
  const again = item.wants(wanted);
  $("again").hidden = !again;
  $("again").textContent = item.result ? "Derain again" : "Try again";
  $("again-all").hidden = wanting.length < 2;
  $("download").classList.toggle("primary", !again);
  $("download-all").hidden = items.filter(({ result }) => result).length < 2;
}

async function exampleFile(name) {
  const answer = await fetch(new URL(`examples/${name}.jpg`, import.meta.url));
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  return new File([await answer.blob()], `${name}.jpg`, { type: "image/jpeg" });
}

async function downloadAll() {
  const done = items.filter(({ result }) => result);
  const names = distinctNames(
    done.map(({ file, result }) => resultName(file.name, result.blob.type)),
  );
  try {
    const archive = await zip(done.map(({ result }, i) => ({ name: names[i], blob: result.blob })));
    const link = document.createElement("a");
    link.href = URL.createObjectURL(archive);
    link.download = "derained.zip";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  } catch (error) {
    toast(`No zip file was made: ${error.message}`);
  }
}

// ---------------------------------------------------------------- settings

/** The query that the settings make; what the server does by itself is left out. */
function options() {
  const chosen = {};
  const model = models.find(({ name }) => name === $("model").value);
  if (model && !model.default) chosen.model = model.name;
  if ($("precision").value) chosen.precision = $("precision").value;
  if ($("strength").value !== "100") chosen.strength = String($("strength").value / 100);
  return chosen;
}

const option = (value, text, selected) => new Option(text, value, selected, selected);

function showModels() {
  const preferred = models.find((model) => model.default) ?? models[0];
  $("model").replaceChildren(...models.map((m) => option(m.name, m.name, m === preferred)));
  showPrecisions();
}

function showPrecisions() {
  const model = models.find(({ name }) => name === $("model").value);
  const before = $("precision").value;
  $("precision").replaceChildren(
    ...["", ...(model?.precisions ?? [])].map((name) =>
      option(name, name || "automatic", name === before),
    ),
  );
  showSettings();
}

function showSettings() {
  const model = models.find(({ name }) => name === $("model").value);
  $("model-note").textContent = model ? `${model.title}.` : "";
  $("precision-note").textContent = PRECISIONS[$("precision").value] ?? "";
  $("strength-value").textContent = `${$("strength").value} %`;
  showActions();
}

async function loadModels() {
  try {
    const answer = await getModels();
    models = answer.models;
    if (answer.clips) acceptClips();
    if (answer.heic) $("files").accept += ",.heic,.heif";
    $("no-heic").hidden = answer.heic;
    showModels();
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) {
      if (!(await login())) toast("Without a token nothing can be derained here.");
    } else toast(`The models could not be listed: ${error.message}`);
  }
}

function acceptClips() {
  for (const kinds of all(".kinds")) kinds.textContent = "pictures or clips";
  $("files").accept += ",video/*";
}

// ---------------------------------------------------------------- messages

function say(text) {
  $("live").textContent = text;
}

function toast(text) {
  const message = document.createElement("p");
  message.textContent = text;
  $("toasts").append(message);
  setTimeout(() => message.remove(), TOAST_SECONDS * 1000);
}

let asking = null;

/** Ask for a token; true once there is one to try, false if the user has none. */
function login() {
  asking ??= new Promise((resolve) => {
    const dialog = $("login");
    const field = $("token");
    $("login-wrong").hidden = !dropToken();
    field.value = "";
    dialog.querySelector("form").onsubmit = (event) => {
      event.preventDefault();
      setToken(field.value.trim());
      dialog.close("given");
    };
    dialog.querySelector(".close").onclick = () => dialog.close("");
    dialog.oncancel = () => (dialog.returnValue = "");
    dialog.onclose = () => {
      asking = null;
      const given = dialog.returnValue === "given";
      if (given && !models.length) loadModels();
      resolve(given);
    };
    dialog.returnValue = "";
    dialog.showModal();
  });
  return asking;
}

// ---------------------------------------------------------------- what comes in

/** The files of a drop or a paste; folders cannot be taken. */
function filesOf(transfer) {
  const entries = [...transfer.items].filter(({ kind }) => kind === "file");
  if (entries.some((entry) => entry.webkitGetAsEntry?.()?.isDirectory))
    toast("Folders are not taken: choose the pictures in them.");
  return entries
    .filter((entry) => !entry.webkitGetAsEntry?.()?.isDirectory)
    .map((entry) => entry.getAsFile());
}

let depth = 0; // of elements that a dragged file has entered
const dragged = (event) => event.dataTransfer?.types.includes("Files");

function veil(change) {
  depth = change === 0 ? 0 : depth + change;
  $("veil").classList.toggle("open", depth > 0);
}

addEventListener("dragenter", (event) => dragged(event) && veil(1));
addEventListener("dragleave", (event) => dragged(event) && veil(-1));
addEventListener("dragover", (event) => dragged(event) && event.preventDefault());
addEventListener("drop", (event) => {
  if (!dragged(event)) return;
  event.preventDefault();
  veil(0);
  add(filesOf(event.dataTransfer));
});
addEventListener("paste", (event) => add(filesOf(event.clipboardData)));

for (const button of all(".choose")) button.addEventListener("click", () => $("files").click());
$("files").addEventListener("change", () => {
  add($("files").files);
  $("files").value = "";
});
for (const button of all("button.camera"))
  button.addEventListener("click", async () => {
    try {
      const file = await takePicture();
      if (file) add([file]);
    } catch (error) {
      toast(`The camera cannot be used: ${error.message}`);
    }
  });
for (const button of all("[data-example]"))
  button.addEventListener("click", async () => {
    try {
      add([await exampleFile(button.dataset.example)]);
    } catch (error) {
      toast(`The example could not be fetched: ${error.message}`);
    }
  });

$("cancel").addEventListener("click", () => work.cancel(bench.item));
$("remove").addEventListener("click", () => remove(bench.item));
$("again").addEventListener("click", () => work.add(bench.item, options()));
$("again-all").addEventListener("click", () => {
  for (const item of items.filter((other) => other.wants(options()))) work.add(item, options());
});
$("download-all").addEventListener("click", downloadAll);
$("model").addEventListener("change", showPrecisions);
$("settings").addEventListener("input", showSettings);
$("settings").addEventListener("submit", (event) => event.preventDefault());

loadModels();
