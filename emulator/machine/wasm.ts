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

/** Appends an unsigned LEB128 number. */
export function unsigned(out: number[], value: number): void {
  let v = value >>> 0;
  while (v >= 0x80) {
    out.push((v & 0x7f) | 0x80);
    v >>>= 7;
  }
  out.push(v);
}

/** Appends a signed LEB128 number (32 bits). */
export function signed(out: number[], value: number): void {
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

/** The body of one function under construction. Methods append one instruction each. */
export class Code {
  readonly bytes: number[] = [];
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
    this.bytes.push(code, 0);
    unsigned(this.bytes, offset);
    return this;
  }
  /** Stores the low `bits` of the value on the stack. */
  store(bits: 8 | 16 | 32 | 64, offset = 0): this {
    const code = bits === 8 ? 0x3a : bits === 16 ? 0x3b : bits === 32 ? 0x36 : 0x37;
    this.bytes.push(code, 0);
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
    this.bytes.push(0x04, result ?? 0x40);
    return this;
  }
  else(): this {
    this.bytes.push(0x05);
    return this;
  }
  block(): this {
    this.depth++;
    this.bytes.push(0x02, 0x40);
    return this;
  }
  loop(): this {
    this.depth++;
    this.bytes.push(0x03, 0x40);
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
    const body: number[] = [];
    const runs: [number, ValueType][] = [];
    for (const type of this.#locals) {
      const last = runs[runs.length - 1];
      if (last && last[1] === type) last[0]++;
      else runs.push([1, type]);
    }
    unsigned(body, runs.length);
    for (const [count, type] of runs) {
      unsigned(body, count);
      body.push(type);
    }
    const start = body.length;
    for (const byte of this.bytes) body.push(byte);
    body.push(0x0b);
    return { bytes: body, unlikely: this.#hints.map((at) => start + at) };
  }
}

/** A finished function: locals and code, and the offsets in it of branches that are seldom taken. */
export interface FunctionBody {
  readonly bytes: readonly number[];
  readonly unlikely: readonly number[];
}

interface Signature {
  parameters: ValueType[];
  results: ValueType[];
}

/** A module under construction: imports first, then functions, then {@link ModuleWriter.finish}. */
export class ModuleWriter {
  readonly #types: Signature[] = [];
  readonly #imports: { name: string; type: number }[] = [];
  readonly #functions: { type: number; body?: FunctionBody }[] = [];
  readonly #exports: { name: string; fn: number }[] = [];
  #table: number[] = [];
  #tableType = 0;
  #spare = 0;
  #tableExport: string | undefined;
  #tableImport: { name: string; size: number } | undefined;

  /** Index of a function type, made when new. */
  type(parameters: ValueType[], results: ValueType[]): number {
    const same = (a: ValueType[], b: ValueType[]) => a.length === b.length && a.every((t, i) => t === b[i]);
    const found = this.#types.findIndex((t) => same(t.parameters, parameters) && same(t.results, results));
    return found >= 0 ? found : this.#types.push({ parameters, results }) - 1;
  }
  /** Imports `env.name`. All imports come before the first function. */
  import(name: string, type: number): number {
    if (this.#functions.length > 0) {
      throw new Error(`Cannot import "${name}": a function is already declared`);
    }
    return this.#imports.push({ name, type }) - 1;
  }
  /** Declares a function whose body follows through {@link ModuleWriter.define}; returns its index. */
  declare(type: number): number {
    return this.#imports.length + this.#functions.push({ type }) - 1;
  }
  define(fn: number, code: Code): void {
    this.#functions[fn - this.#imports.length].body = code.finish();
  }
  export(name: string, fn: number): void {
    this.#exports.push({ name, fn });
  }
  /**
   * Fills table 0 with functions of one type; calls through it need no signature check. `spare` places behind
   * them hold the first function.
   */
  table(type: number, functions: number[], spare = 0): void {
    this.#tableType = type;
    this.#table = functions;
    this.#spare = spare;
  }
  exportTable(name: string): void {
    this.#tableExport = name;
  }
  /** Imports table 0 of functions of one type as `env.name`; it has `size` places. */
  importTable(name: string, type: number, size: number): void {
    this.#tableType = type;
    this.#tableImport = { name, size };
  }

  /**
   * The binary module. It imports its memory as `env.memory` with at least `memoryPages` of 64 KiB, or exactly
   * so many, which makes bounds checks cheaper.
   */
  finish(memoryPages: number, exactly = false): Uint8Array<ArrayBuffer> {
    const out: number[] = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
    const section = (id: number, body: number[]) => {
      out.push(id);
      unsigned(out, body.length);
      for (const byte of body) out.push(byte);
    };
    const vector = <T>(items: readonly T[], write: (body: number[], item: T) => void): number[] => {
      const body: number[] = [];
      unsigned(body, items.length);
      for (const item of items) write(body, item);
      return body;
    };
    const name = (body: number[], text: string) => {
      const bytes = new TextEncoder().encode(text);
      unsigned(body, bytes.length);
      body.push(...bytes);
    };
    section(
      1,
      vector(this.#types, (body, t) => {
        body.push(
          0x60,
          ...vector(t.parameters, (b, p) => b.push(p)),
          ...vector(t.results, (b, r) => b.push(r)),
        );
      }),
    );
    const imports: number[] = [];
    unsigned(imports, this.#imports.length + (this.#tableImport ? 2 : 1));
    name(imports, "env");
    name(imports, "memory");
    imports.push(0x02, exactly ? 0x01 : 0x00);
    unsigned(imports, memoryPages);
    if (exactly) unsigned(imports, memoryPages);
    if (this.#tableImport) {
      name(imports, "env");
      name(imports, this.#tableImport.name);
      imports.push(0x01, 0x64);
      signed(imports, this.#tableType);
      imports.push(0x01);
      unsigned(imports, this.#tableImport.size);
      unsigned(imports, this.#tableImport.size);
    }
    for (const item of this.#imports) {
      name(imports, "env");
      name(imports, item.name);
      imports.push(0x00);
      unsigned(imports, item.type);
    }
    section(2, imports);
    section(3, vector(this.#functions, (body, f) => unsigned(body, f.type)));
    if (this.#table.length > 0) {
      // A table of non-null references to one function type, so that V8 checks neither null nor signature.
      const table: number[] = [1, 0x40, 0x00, 0x64];
      signed(table, this.#tableType);
      table.push(0x01);
      unsigned(table, this.#table.length + this.#spare);
      unsigned(table, this.#table.length + this.#spare);
      table.push(0xd2);
      unsigned(table, this.#table[0]);
      table.push(0x0b);
      section(4, table);
    }
    const exported = this.#exports.map((e) => ({ ...e, kind: 0x00 }));
    if (this.#tableExport !== undefined) exported.push({ name: this.#tableExport, fn: 0, kind: 0x01 });
    section(
      7,
      vector(exported, (body, e) => {
        name(body, e.name);
        body.push(e.kind);
        unsigned(body, e.fn);
      }),
    );
    if (this.#table.length > 0) {
      // Element segment kind 6: active, explicit table, expressions of a reference type.
      const elements: number[] = [1, 0x06, 0x00, 0x41, 0x00, 0x0b, 0x64];
      signed(elements, this.#tableType);
      unsigned(elements, this.#table.length);
      for (const fn of this.#table) {
        elements.push(0xd2);
        unsigned(elements, fn);
        elements.push(0x0b);
      }
      section(9, elements);
    }
    const hinted = this.#functions.flatMap(({ body }, i) => body?.unlikely.length ? [{ body, i }] : []);
    if (hinted.length > 0) {
      // Branch hints (WebAssembly's branch hinting proposal): function, then offset, size 1, unlikely.
      const hints: number[] = [];
      name(hints, "metadata.code.branch_hint");
      hints.push(
        ...vector(hinted, (out, { body, i }) => {
          unsigned(out, i + this.#imports.length);
          unsigned(out, body.unlikely.length);
          for (const at of body.unlikely) {
            unsigned(out, at);
            out.push(1, 0);
          }
        }),
      );
      section(0, hints);
    }
    const code: number[] = [];
    unsigned(code, this.#functions.length);
    this.#functions.forEach((f, i) => {
      if (!f.body) {
        throw new Error(`Cannot write the module: function ${i + this.#imports.length} has no body`);
      }
      unsigned(code, f.body.bytes.length);
      for (const byte of f.body.bytes) code.push(byte);
    });
    section(10, code);
    return new Uint8Array(out);
  }
}
