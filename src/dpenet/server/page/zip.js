/** ZIP archives of stored (uncompressed) entries: pictures are compressed already. */

const MOST = 2 ** 32 - 1;
const FLAG_UTF8 = 1 << 11;
const VERSION = 20;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n;
});

function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** Little-endian record of [bytes of the field, value] pairs. */
function record(...fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [width]) => sum + width, 0)));
  let at = 0;
  for (const [width, value] of fields) {
    if (width === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += width;
  }
  return view.buffer;
}

function dosTime(date) {
  const time = (date.getHours() << 11) | (date.getMinutes() << 5) | (date.getSeconds() >> 1);
  const day = ((date.getFullYear() - 1980) << 9) | ((date.getMonth() + 1) << 5) | date.getDate();
  return [time, day];
}

/**
 * Pack files into an archive.
 *
 * @param {{name: string, blob: Blob}[]} files - names must differ from one another.
 * @returns {Promise<Blob>}
 * @throws {RangeError} if it would need more than 4 GB.
 */
export async function zip(files) {
  const [time, day] = dosTime(new Date());
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const { name, blob } of files) {
    const title = new TextEncoder().encode(name);
    const crc = crc32(new Uint8Array(await blob.arrayBuffer()));
    const shared = [
      [2, VERSION], [2, FLAG_UTF8], [2, 0], [2, time], [2, day],
      [4, crc], [4, blob.size], [4, blob.size], [2, title.length], [2, 0],
    ];
    parts.push(record([4, 0x04034b50], ...shared), title, blob);
    directory.push(
      record([4, 0x02014b50], [2, VERSION], ...shared, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]),
      title,
    );
    offset += 30 + title.length + blob.size;
    if (offset > MOST) throw new RangeError("together they are too large for a zip file");
  }
  const size = directory.reduce((sum, part) => sum + part.byteLength, 0);
  const count = files.length;
  const end = record(
    [4, 0x06054b50], [2, 0], [2, 0], [2, count], [2, count], [4, size], [4, offset], [2, 0],
  );
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}
