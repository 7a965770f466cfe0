// SPDX-License-Identifier: Apache-2.0
/**
 * Puts functions together to a WebAssembly module (binary format, core specification chapter 5.5).
 *
 * @module
 */
import { ByteWriter, type Code, type FunctionBody, signed, unsigned, type ValueType } from "./wasm.ts";

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
    const out = new ByteWriter();
    out.append([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
    const section = (id: number, write: (body: ByteWriter) => void) => {
      const body = new ByteWriter();
      write(body);
      out.push(id);
      unsigned(out, body.length);
      out.append(body.view());
    };
    section(1, (body) => {
      unsigned(body, this.#types.length);
      for (const { parameters, results } of this.#types) {
        body.push(0x60);
        for (const types of [parameters, results]) {
          unsigned(body, types.length);
          body.append(types);
        }
      }
    });
    section(2, (body) => this.#writeImports(body, memoryPages, exactly));
    section(3, (body) => {
      unsigned(body, this.#functions.length);
      for (const { type } of this.#functions) unsigned(body, type);
    });
    if (this.#table.length > 0) section(4, (body) => this.#writeTable(body));
    section(7, (body) => {
      const exported = this.#exports.map((e) => ({ ...e, kind: 0x00 }));
      if (this.#tableExport !== undefined) exported.push({ name: this.#tableExport, fn: 0, kind: 0x01 });
      unsigned(body, exported.length);
      for (const { name, fn, kind } of exported) {
        writeName(body, name);
        body.push(kind);
        unsigned(body, fn);
      }
    });
    if (this.#table.length > 0) section(9, (body) => this.#writeElements(body));
    if (this.#functions.some(({ body }) => body?.unlikely.length)) {
      section(0, (body) => this.#writeHints(body));
    }
    section(10, (body) => {
      unsigned(body, this.#functions.length);
      for (const [i, { body: fn }] of this.#functions.entries()) {
        if (!fn) throw new Error(`Cannot write the module: function ${i + this.#imports.length} has no body`);
        unsigned(body, fn.locals.length + fn.code.length);
        body.append(fn.locals);
        body.append(fn.code);
      }
    });
    return out.view();
  }
  #writeImports(body: ByteWriter, memoryPages: number, exactly: boolean): void {
    unsigned(body, this.#imports.length + (this.#tableImport ? 2 : 1));
    const imported = (name: string, kind: number) => {
      writeName(body, "env");
      writeName(body, name);
      body.push(kind);
    };
    imported("memory", 0x02);
    body.push(exactly ? 0x01 : 0x00);
    unsigned(body, memoryPages);
    if (exactly) unsigned(body, memoryPages);
    if (this.#tableImport) {
      imported(this.#tableImport.name, 0x01);
      body.push(0x64);
      signed(body, this.#tableType);
      body.push(0x01);
      unsigned(body, this.#tableImport.size);
      unsigned(body, this.#tableImport.size);
    }
    for (const item of this.#imports) {
      imported(item.name, 0x00);
      unsigned(body, item.type);
    }
  }
  /** A table of non-null references to one function type, so that V8 checks neither null nor signature. */
  #writeTable(body: ByteWriter): void {
    body.append([1, 0x40, 0x00, 0x64]);
    signed(body, this.#tableType);
    body.push(0x01);
    unsigned(body, this.#table.length + this.#spare);
    unsigned(body, this.#table.length + this.#spare);
    body.push(0xd2);
    unsigned(body, this.#table[0]);
    body.push(0x0b);
  }
  /** Element segment kind 6: active, explicit table, expressions of a reference type. */
  #writeElements(body: ByteWriter): void {
    body.append([1, 0x06, 0x00, 0x41, 0x00, 0x0b, 0x64]);
    signed(body, this.#tableType);
    unsigned(body, this.#table.length);
    for (const fn of this.#table) {
      body.push(0xd2);
      unsigned(body, fn);
      body.push(0x0b);
    }
  }
  /** Branch hints (WebAssembly's branch hinting proposal): function, then offset, size 1, unlikely. */
  #writeHints(body: ByteWriter): void {
    const hinted = this.#functions.flatMap(({ body }, i) => body?.unlikely.length ? [{ body, i }] : []);
    writeName(body, "metadata.code.branch_hint");
    unsigned(body, hinted.length);
    for (const { body: fn, i } of hinted) {
      unsigned(body, i + this.#imports.length);
      unsigned(body, fn.unlikely.length);
      for (const at of fn.unlikely) {
        unsigned(body, at);
        body.push(1);
        body.push(0);
      }
    }
  }
}

function writeName(body: ByteWriter, text: string): void {
  const bytes = new TextEncoder().encode(text);
  unsigned(body, bytes.length);
  body.append(bytes);
}
