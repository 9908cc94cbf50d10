/** A picture from the camera: the phone's own camera program, or a finder in the page. */

const QUALITY = 0.95;

const $ = (id) => document.getElementById(id);

const stamp = () => new Date().toISOString().slice(0, 19).replace(/\D/g, "");

/** Ask for a picture; resolves with a File, or null if there is none. */
export async function takePicture() {
  const media = navigator.mediaDevices; // only there on https and on this machine
  if (!media || matchMedia("(pointer: coarse)").matches) return pickFromCamera();
  const facing = { ideal: "environment" };
  const wanted = { facingMode: facing, width: { ideal: 3840 }, height: { ideal: 2160 } };
  const stream = await media.getUserMedia({ video: wanted });
  try {
    return await shoot(stream);
  } finally {
    for (const track of stream.getTracks()) track.stop();
  }
}

function pickFromCamera() {
  const input = $("snapshot");
  return new Promise((resolve) => {
    input.onchange = () => {
      resolve(input.files[0] ?? null);
      input.value = "";
    };
    input.oncancel = () => resolve(null);
    input.click();
  });
}

/** What the user decides; whatever else closes the dialog is a no. */
function decision(dialog) {
  return new Promise((resolve) => {
    $("shoot").onclick = () => resolve(true);
    dialog.querySelector(".close").onclick = () => resolve(false);
    dialog.onclose = () => resolve(false);
  });
}

async function shoot(stream) {
  const dialog = $("camera");
  const finder = $("finder");
  const decided = decision(dialog);
  $("shoot").disabled = true;
  finder.srcObject = stream;
  dialog.showModal();
  try {
    // The camera may take a while to start, and the user may think better of it meanwhile.
    const started = finder.play().then(() => {
      $("shoot").disabled = false;
      $("shoot").focus();
      return decided;
    });
    if (!(await Promise.race([decided, started]))) return null;
    const canvas = new OffscreenCanvas(finder.videoWidth, finder.videoHeight);
    canvas.getContext("2d").drawImage(finder, 0, 0);
    const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY });
    return new File([blob], `camera-${stamp()}.jpg`, { type: blob.type });
  } finally {
    finder.srcObject = null;
    dialog.close();
  }
}
