/** Files: what they are called, how large they are, how they look small, what was removed from them. */

const THUMBNAIL = 144;
const BAND_ROWS = 128;
/** Browsers limit a canvas; of a larger picture the rain is shown reduced. */
const MOST_CANVAS_PIXELS = 16e6;

const CLIP_SUFFIX = /\.(3gp|avi|flv|m2ts|m4v|mkv|mov|mp4|mpe?g|mts|ogv|ts|webm|wmv|y4m)$/i;
const SUFFIXES = {
  "image/jpeg": ["jpg", "jpeg", "jpe", "jfif"],
  "image/png": ["png"],
  "image/webp": ["webp"],
  "image/avif": ["avif"],
  "image/gif": ["gif"],
  "image/bmp": ["bmp", "dib"],
  "image/tiff": ["tif", "tiff"],
  "image/x-portable-floatmap": ["pfm"],
  "image/x-portable-anymap": ["ppm", "pgm", "pnm"],
  "video/mp4": ["mp4", "m4v"],
  "video/quicktime": ["mov"],
  "video/webm": ["webm"],
  "video/x-matroska": ["mkv"],
  "video/x-msvideo": ["avi"],
};

export const isClip = (file) => file.type.startsWith("video/") || CLIP_SUFFIX.test(file.name);

const split = (name) => /^(.+?)(?:\.([^.]*))?$/s.exec(name).slice(1);

/** A name for people: JPEG, TIFF, MP4. */
export function kindOf(file) {
  const [, suffix = ""] = split(file.name || "?");
  const known = Object.entries(SUFFIXES).find(([, all]) => all.includes(suffix.toLowerCase()));
  const type = known?.[0] ?? file.type;
  if (type.startsWith("image/x-portable")) return "PNM";
  return type.replace(/^.*\/(x-)?/, "").toUpperCase() || suffix.toUpperCase() || "file";
}

export function sizeText(bytes) {
  if (bytes < 1e6) return `${Math.max(1, Math.round(bytes / 1e3))} kB`;
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

/** What `dpenet derain` would call the result; the suffix is changed only if the format was. */
export function resultName(name, type) {
  const [stem, suffix = ""] = split(name);
  const usual = SUFFIXES[type.split(";")[0]];
  const kept = !usual || usual.includes(suffix.toLowerCase()) ? suffix : usual[0];
  return `${stem}.derained${kept && `.${kept}`}`;
}

/** The same names, told apart by numbers where they are equal (also to those who ignore case). */
export function distinctNames(names) {
  const taken = new Set();
  return names.map((name) => {
    const [stem, suffix] = split(name);
    let free = name;
    for (let n = 2; taken.has(free.toLowerCase()); n++)
      free = `${stem} (${n})${suffix === undefined ? "" : `.${suffix}`}`;
    taken.add(free.toLowerCase());
    return free;
  });
}

/** Draw a picture small onto a canvas; false if this browser cannot show it. */
export async function drawThumbnail(blob, canvas) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob);
  } catch {
    return false;
  }
  const side = Math.min(bitmap.width, bitmap.height);
  canvas.width = canvas.height = THUMBNAIL;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  const [left, top] = [(bitmap.width - side) / 2, (bitmap.height - side) / 2];
  context.drawImage(bitmap, left, top, side, side, 0, 0, THUMBNAIL, THUMBNAIL);
  bitmap.close();
  return true;
}

/**
 * Draw what was removed: before minus after, black where the result is not darker.
 *
 * @param {HTMLImageElement} before
 * @param {HTMLImageElement} after - of the same size.
 * @param {HTMLCanvasElement} canvas
 * @param {AbortSignal} signal - gives up between two bands of rows.
 */
export async function drawRain(before, after, canvas, signal) {
  const { naturalWidth, naturalHeight } = before;
  const scale = Math.min(1, Math.sqrt(MOST_CANVAS_PIXELS / (naturalWidth * naturalHeight)));
  const width = Math.max(1, Math.floor(naturalWidth * scale));
  const height = Math.max(1, Math.floor(naturalHeight * scale));
  canvas.width = width;
  canvas.height = height;
  const out = canvas.getContext("2d");
  const [rainy, clean] = [before, after].map((image) => {
    const band = new OffscreenCanvas(width, BAND_ROWS).getContext("2d", { willReadFrequently: true });
    return (top, rows) => {
      band.clearRect(0, 0, width, BAND_ROWS);
      band.drawImage(image, 0, -top, width, height);
      return band.getImageData(0, 0, width, rows);
    };
  });
  for (let top = 0; top < height; top += BAND_ROWS) {
    const rows = Math.min(BAND_ROWS, height - top);
    const layer = rainy(top, rows);
    const { data } = clean(top, rows);
    // Clamped to 0 by the array's type; transparency is that of the picture.
    for (let i = 0; i < data.length; i += 4)
      for (let c = i; c < i + 3; c++) layer.data[c] -= data[c];
    out.putImageData(layer, 0, top);
    await new Promise((resolve) => setTimeout(resolve));
    if (signal.aborted) return;
  }
}
