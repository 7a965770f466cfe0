// SPDX-License-Identifier: Apache-2.0
/**
 * A small writer of WebAssembly modules (binary format, core specification chapter 5): enough for handler
 * functions over one imported memory and one table of functions of the same type.
 *
 * @module
 */

/** A value type of WebAssembly, by its byte. */
export const ValueType = { i32: 0x7f, i64: 0x7e, f64: 0x7c } as const;
/** One of {@link ValueType}. */
export type ValueType = (typeof ValueType)[keyof typeof ValueType];

/** Opcodes used by the lowering, by their name in the text format (without the type where it is i32). */
export const Opcode = {
  eqz: 0x45,
  eq: 0x46,
  ne: 0x47,
  lt_s: 0x48,
  lt_u: 0x49,
  gt_s: 0x4a,
  gt_u: 0x4b,
  le_s: 0x4c,
  le_u: 0x4d,
  ge_s: 0x4e,
  ge_u: 0x4f,
  clz: 0x67,
  ctz: 0x68,
  popcnt: 0x69,
  add: 0x6a,
  sub: 0x6b,
  mul: 0x6c,
  div_s: 0x6d,
  div_u: 0x6e,
  rem_s: 0x6f,
  rem_u: 0x70,
  and: 0x71,
  or: 0x72,
  xor: 0x73,
  shl: 0x74,
  shr_s: 0x75,
  shr_u: 0x76,
  rotl: 0x77,
  rotr: 0x78,
  wrap: 0xa7,
  extend_s: 0xac,
  extend_u: 0xad,
  extend8_s: 0xc0,
  extend16_s: 0xc1,
} as const;
/** Name of an opcode in {@link Opcode}. */
export type OpcodeName = keyof typeof Opcode;

/** The i64 opcode of an i32 one: comparisons, counts and arithmetic lie in three parallel rows. */
export function wide(name: OpcodeName): number {
  const code = Opcode[name];
  if (code === 0x45) return 0x50;
  if (code >= 0x46 && code <= 0x4f) return code + 0x0b;
  if (code >= 0x67 && code <= 0x78) return code + 0x12;
  if (code >= 0xc0) return code + 2;
  return code;
}

/** What bytes are appended to. */
export interface ByteSink {
  push(byte: number): unknown;
}

/** Appends an unsigned LEB128 number. */
export function unsigned(out: ByteSink, value: number): void {
  let v = value >>> 0;
  while (v >= 0x80) {
    out.push((v & 0x7f) | 0x80);
    v >>>= 7;
  }
  out.push(v);
}

/** Appends a signed LEB128 number (32 bits). */
export function signed(out: ByteSink, value: number): void {
  let v = value | 0;
  for (;;) {
    const byte = v & 0x7f;
    v >>= 7;
    if ((v === 0 && (byte & 0x40) === 0) || (v === -1 && (byte & 0x40) !== 0)) {
      out.push(byte);
      return;
    }
    out.push(byte | 0x80);
  }
}

/** Bytes under construction. */
export class ByteWriter implements ByteSink {
  #bytes = new Uint8Array(1024);
  length = 0;

  push(byte: number): void {
    if (this.length === this.#bytes.length) this.#grow(1);
    this.#bytes[this.length++] = byte;
  }
  append(bytes: ArrayLike<number>): void {
    if (this.length + bytes.length > this.#bytes.length) this.#grow(bytes.length);
    this.#bytes.set(bytes, this.length);
    this.length += bytes.length;
  }
  #grow(by: number): void {
    const bytes = new Uint8Array(2 * (this.length + by));
    bytes.set(this.#bytes);
    this.#bytes = bytes;
  }
  /** The bytes so far. */
  view(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.length);
  }
}

/** The body of one function under construction. Methods append one instruction each. */
export class Code {
  readonly bytes = new ByteWriter();
  /** Blocks, loops and ifs that are open. */
  depth = 0;
  readonly #locals: ValueType[] = [];
  readonly #parameters: number;
  /** Places of branches that are seldom taken. */
  readonly #hints: number[] = [];

  constructor(parameters: number) {
    this.#parameters = parameters;
  }
  /** Declares a local; returns its index. */
  local(type: ValueType = ValueType.i32): number {
    return this.#parameters + this.#locals.push(type) - 1;
  }
  #two(a: number, b: number): void {
    this.bytes.push(a);
    this.bytes.push(b);
  }
  op(name: OpcodeName): this {
    this.bytes.push(Opcode[name]);
    return this;
  }
  op64(name: OpcodeName): this {
    this.bytes.push(wide(name));
    return this;
  }
  const(value: number): this {
    this.bytes.push(0x41);
    signed(this.bytes, value);
    return this;
  }
  /** A 64-bit constant whose value is a 32-bit signed number. */
  const64(value: number): this {
    this.bytes.push(0x42);
    signed(this.bytes, value);
    return this;
  }
  get(local: number): this {
    this.bytes.push(0x20);
    unsigned(this.bytes, local);
    return this;
  }
  set(local: number): this {
    this.bytes.push(0x21);
    unsigned(this.bytes, local);
    return this;
  }
  tee(local: number): this {
    this.bytes.push(0x22);
    unsigned(this.bytes, local);
    return this;
  }
  /** Loads `bits` (zero-extended to i32; 64 gives i64) from the address on the stack plus `offset`. */
  load(bits: 8 | 16 | 32 | 64, offset = 0): this {
    const code = bits === 8 ? 0x2d : bits === 16 ? 0x2f : bits === 32 ? 0x28 : 0x29;
    this.#two(code, 0);
    unsigned(this.bytes, offset);
    return this;
  }
  /** Stores the low `bits` of the value on the stack. */
  store(bits: 8 | 16 | 32 | 64, offset = 0): this {
    const code = bits === 8 ? 0x3a : bits === 16 ? 0x3b : bits === 32 ? 0x36 : 0x37;
    this.#two(code, 0);
    unsigned(this.bytes, offset);
    return this;
  }
  /** Hints that the condition of the `if` or `br_if` that follows seldom holds. */
  unlikely(): this {
    this.#hints.push(this.bytes.length);
    return this;
  }
  if(result?: ValueType): this {
    this.depth++;
    this.#two(0x04, result ?? 0x40);
    return this;
  }
  else(): this {
    this.bytes.push(0x05);
    return this;
  }
  block(): this {
    this.depth++;
    this.#two(0x02, 0x40);
    return this;
  }
  loop(): this {
    this.depth++;
    this.#two(0x03, 0x40);
    return this;
  }
  end(): this {
    this.depth--;
    this.bytes.push(0x0b);
    return this;
  }
  br(depth: number): this {
    this.bytes.push(0x0c);
    unsigned(this.bytes, depth);
    return this;
  }
  brIf(depth: number): this {
    this.bytes.push(0x0d);
    unsigned(this.bytes, depth);
    return this;
  }
  /** Branches to the end of the construct (start of the loop) at which {@link depth} was `depth`. */
  brTo(depth: number): this {
    return this.br(this.depth - depth);
  }
  return(): this {
    this.bytes.push(0x0f);
    return this;
  }
  select(): this {
    this.bytes.push(0x1b);
    return this;
  }
  drop(): this {
    this.bytes.push(0x1a);
    return this;
  }
  unreachable(): this {
    this.bytes.push(0x00);
    return this;
  }
  call(fn: number): this {
    this.bytes.push(0x10);
    unsigned(this.bytes, fn);
    return this;
  }
  returnCall(fn: number): this {
    this.bytes.push(0x12);
    unsigned(this.bytes, fn);
    return this;
  }
  /** Tail call through table 0. */
  returnCallIndirect(type: number): this {
    this.bytes.push(0x13);
    unsigned(this.bytes, type);
    unsigned(this.bytes, 0);
    return this;
  }
  /** The function body with its locals, as the code section wants it, and the places of hints in it. */
  finish(): FunctionBody {
    const locals = new ByteWriter();
    const runs: [number, ValueType][] = [];
    for (const type of this.#locals) {
      const last = runs[runs.length - 1];
      if (last && last[1] === type) last[0]++;
      else runs.push([1, type]);
    }
    unsigned(locals, runs.length);
    for (const [count, type] of runs) {
      unsigned(locals, count);
      locals.push(type);
    }
    this.bytes.push(0x0b);
    return {
      locals: locals.view(),
      code: this.bytes.view(),
      unlikely: this.#hints.map((at) => locals.length + at),
    };
  }
}

/** A finished function: locals and code, and the offsets in both of branches that are seldom taken. */
export interface FunctionBody {
  readonly locals: Uint8Array;
  readonly code: Uint8Array;
  readonly unlikely: readonly number[];
}
