// SPDX-License-Identifier: Apache-2.0
/**
 * Packers for the inputs of the benchmark programs W2 and W3, and the data they pack. All deterministic.
 *
 * @module
 */

/** xorshift32 (Marsaglia, "Xorshift RNGs", 2003): a small deterministic generator of 32-bit numbers. */
export function xorshift32(seed: number): () => number {
  let state = (seed >>> 0) || 0x9e3779b9;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>>= 0);
  };
}

/**
 * `length` bytes that pack about as well as program text does: words from a small skewed vocabulary, numbers,
 * and now and then a run of incompressible bytes.
 */
export function pseudoText(length: number, seed = 1): Uint8Array<ArrayBuffer> {
  const next = xorshift32(seed);
  const letters = "etaoinshrdlucmfwypvbgk";
  const vocabulary: Uint8Array[] = [];
  for (let i = 0; i < 3000; i++) {
    const word = new Uint8Array(2 + next() % 9);
    for (let j = 0; j < word.length; j++) {
      word[j] = letters.charCodeAt(Math.min(next() % letters.length, next() % letters.length));
    }
    vocabulary.push(word);
  }
  const data = new Uint8Array(length);
  let at = 0;
  const put = (byte: number) => {
    if (at < length) data[at++] = byte;
  };
  while (at < length) {
    const kind = next() % 64;
    if (kind === 0) {
      for (let n = next() % 48; n > 0; n--) put(next() >>> 24);
    } else if (kind < 6) {
      for (const digit of String(next() % 100_000)) put(digit.charCodeAt(0));
    } else {
      const limit = kind < 40 ? 200 : vocabulary.length;
      for (const byte of vocabulary[next() % limit]) put(byte);
    }
    put(next() % 12 === 0 ? 10 : 32);
  }
  return data;
}

/** One step of a parse: `length` 0 is the literal at `position`, otherwise a copy from `distance` back. */
interface Step {
  position: number;
  length: number;
  distance: number;
}

/** Greedy Lempel-Ziv parse over hash chains of three bytes. */
function* parse(
  data: Uint8Array,
  limits: { maxLength: number; maxDistance: number; minLength(distance: number): number; chain: number },
): Generator<Step> {
  const heads = new Int32Array(1 << 16).fill(-1);
  const previous = new Int32Array(data.length);
  const hash = (i: number) => ((data[i] * 0x9e5f + data[i + 1] * 0x3d + data[i + 2] * 0x1f35) & 0xffff);
  const enter = (i: number) => {
    if (i + 2 >= data.length) return;
    const h = hash(i);
    previous[i] = heads[h];
    heads[h] = i;
  };
  let position = 0;
  while (position < data.length) {
    let length = 0;
    let distance = 0;
    if (position + 2 < data.length) {
      let candidate = heads[hash(position)];
      const most = Math.min(limits.maxLength, data.length - position);
      for (let tries = limits.chain; tries > 0 && candidate >= 0; tries--) {
        if (position - candidate > limits.maxDistance) break;
        let n = 0;
        while (n < most && data[candidate + n] === data[position + n]) n++;
        if (n > length && n >= limits.minLength(position - candidate)) {
          length = n;
          distance = position - candidate;
        }
        candidate = previous[candidate];
      }
    }
    yield { position, length, distance };
    for (const end = position + Math.max(1, length); position < end; position++) enter(position);
  }
}

/**
 * Packs for W2: a control byte 1..127 is followed by as many literals, 0x80|n by a 16-bit distance for a copy
 * of n+3 bytes, 0 ends.
 */
export function packBytewise(data: Uint8Array): Uint8Array<ArrayBuffer> {
  const out: number[] = [];
  let literals: number[] = [];
  const flush = () => {
    if (literals.length > 0) out.push(literals.length, ...literals);
    literals = [];
  };
  const limits = { maxLength: 130, maxDistance: 0xffff, minLength: () => 4, chain: 8 };
  for (const { position, length, distance } of parse(data, limits)) {
    if (length === 0) {
      literals.push(data[position]);
      if (literals.length === 127) flush();
    } else {
      flush();
      out.push(0x80 | (length - 3), distance & 0xff, distance >>> 8);
    }
  }
  flush();
  out.push(0);
  return new Uint8Array(out);
}

/** Copies further back than this are one byte longer than coded (NRV2E). */
const NEAR = 0x500;

/**
 * Packs for W3: the NRV2E stream of UCL, as its decoder in `w3.asm` reads it. Bits come from 32-bit
 * little-endian words, most significant first, that stand in the byte stream where the decoder refills.
 */
export function packNrv2e(data: Uint8Array): Uint8Array<ArrayBuffer> {
  let out = new Uint8Array(data.length + 1024);
  let at = 0;
  let wordAt = 0;
  let word = 0;
  let free = 0;
  const room = (n: number) => {
    if (at + n <= out.length) return;
    const larger = new Uint8Array(out.length * 2);
    larger.set(out);
    out = larger;
  };
  const storeWord = () => {
    for (let i = 0; i < 4; i++) out[wordAt + i] = word >>> (8 * i);
  };
  const bit = (b: number) => {
    if (free === 0) {
      room(4);
      wordAt = at;
      at += 4;
      word = 0;
      free = 32;
    }
    word |= b << --free;
    if (free === 0) storeWord();
  };
  const byte = (b: number) => {
    room(1);
    out[at++] = b;
  };
  /** The prefix code of a number from 2: pairs of data bits, the first of each followed by a stop bit. */
  const prefix = (value: number) => {
    const bits: number[] = [];
    let stop = 1;
    for (let v = value; v > 1;) {
      bits.push(stop, v & 1);
      v >>>= 1;
      if (v > 1) {
        bits.push(v & 1);
        v = (v >>> 1) + 1;
      }
      stop = 0;
    }
    // Written last to first; within the round that is (data, stop) and then the second data bit.
    for (let i = bits.length - 1; i >= 0; i--) bit(bits[i]);
  };
  let last = 1;
  const limits = {
    maxLength: 0x8000,
    maxDistance: 0x7fffff,
    minLength: (distance: number) => (distance > NEAR ? 4 : 3),
    chain: 8,
  };
  for (const { position, length, distance } of parse(data, limits)) {
    if (length === 0) {
      bit(1);
      byte(data[position]);
      continue;
    }
    bit(0);
    const coded = length - 1 - (distance > NEAR ? 1 : 0);
    const short = coded <= 2;
    if (distance === last) {
      prefix(2);
      bit(short ? 1 : 0);
    } else {
      const raw = (distance - 1) * 2 + (short ? 0 : 1);
      prefix((raw >>> 8) + 3);
      byte(raw & 0xff);
      last = distance;
    }
    if (short) {
      bit(coded - 1);
    } else if (coded <= 4) {
      bit(1);
      bit(coded - 3);
    } else {
      bit(0);
      // A number from 2 without its leading one: each bit but the last is followed by a 0 that goes on.
      const value = coded - 3;
      for (let i = 30 - Math.clz32(value); i >= 0; i--) {
        bit((value >>> i) & 1);
        bit(i === 0 ? 1 : 0);
      }
    }
  }
  bit(0);
  prefix(0x1000002);
  byte(0xff);
  if (free > 0) storeWord();
  return out.slice(0, at);
}
