// SPDX-License-Identifier: Apache-2.0
/**
 * Native Unicorn (Debian's `libunicorn2`) by FFI, as a second opinion on what instructions do.
 *
 * @module
 */

const LIBRARY = "libunicorn.so.2";

const symbols = {
  uc_open: { parameters: ["i32", "i32", "buffer"], result: "i32" },
  uc_close: { parameters: ["pointer"], result: "i32" },
  uc_mem_map_ptr: { parameters: ["pointer", "u64", "usize", "u32", "buffer"], result: "i32" },
  uc_mem_write: { parameters: ["pointer", "u64", "buffer", "usize"], result: "i32" },
  uc_reg_write: { parameters: ["pointer", "i32", "buffer"], result: "i32" },
  uc_reg_write_batch: { parameters: ["pointer", "buffer", "buffer", "i32"], result: "i32" },
  uc_reg_read_batch: { parameters: ["pointer", "buffer", "buffer", "i32"], result: "i32" },
  // The count is a structure of one number, which is passed the same way, because a structure keeps V8 from
  // the fast kind of call: hooks call back into JavaScript, and V8 aborts when a fast call does that.
  uc_emu_start: { parameters: ["pointer", "u64", "u64", "u64", { struct: ["usize"] }], result: "i32" },
  uc_emu_stop: { parameters: ["pointer"], result: "i32" },
  uc_hook_add: {
    parameters: ["pointer", "buffer", "i32", "function", "pointer", "u64", "u64"],
    result: "i32",
  },
  uc_context_alloc: { parameters: ["pointer", "buffer"], result: "i32" },
  uc_context_save: { parameters: ["pointer", "pointer"], result: "i32" },
  uc_context_restore: { parameters: ["pointer", "pointer"], result: "i32" },
  uc_context_free: { parameters: ["pointer"], result: "i32" },
  uc_ctl: { parameters: ["pointer", "i32", "u64", "u64"], result: "i32" },
  uc_strerror: { parameters: ["i32"], result: "pointer" },
} as const;

type Library = Deno.DynamicLibrary<typeof symbols>;

/** Register numbers of Unicorn (`unicorn/x86.h`), in the order of {@link UnicornState}. */
const STATE_REGISTERS = [19, 22, 24, 21, 30, 20, 29, 23, 26, 25];
/** Access rights of {@link Unicorn.map}, bits. */
export const Protection = { read: 1, write: 2, execute: 4, all: 7 } as const;

const HOOK_INTERRUPT = 1;
const HOOK_BLOCK = 8;
const HOOK_INVALID_MEMORY = (1 << 4) | (1 << 5) | (1 << 6) | (1 << 7) | (1 << 8) | (1 << 9);

/** `UC_CTL_WRITE(UC_CTL_TB_REMOVE_CACHE, 2)` of unicorn.h. */
const CTL_REMOVE_CACHE = 9 | (2 << 26) | (1 << 30);

/** What a run of Unicorn ended with. */
export interface UnicornEnd {
  /** Unicorn's own error number; 0 is none. */
  readonly error: number;
  /** Vector of the exception or interrupt it met, -1 if none. */
  readonly vector: number;
  /** Address of the memory access it could not do, -1 if none. */
  readonly address: number;
  /** Kind of that access (`uc_mem_type`), -1 if none. */
  readonly access: number;
}

/** True when the library can be opened. */
export function unicornInstalled(): boolean {
  try {
    Deno.dlopen(LIBRARY, {}).close();
    return true;
  } catch {
    return false;
  }
}

/** One Unicorn engine in 32-bit mode, ring 0, flat segments, no paging. */
export class Unicorn {
  /** eax ecx edx ebx esp ebp esi edi eip eflags: write, then {@link Unicorn.run}; current after it. */
  readonly state = new Uint32Array(10);
  readonly #library: Library;
  readonly #engine: Deno.PointerValue;
  readonly #count = new BigUint64Array(1);
  readonly #fresh: Deno.PointerValue;
  readonly #keep: unknown[] = [];
  readonly #numbers = new Int32Array(STATE_REGISTERS);
  readonly #pointers = new BigUint64Array(10);
  readonly #callbacks: { close(): void }[] = [];
  #vector = -1;
  #address = -1;
  #access = -1;

  /** Opens an engine. Throws when the library is missing or refuses. */
  constructor() {
    this.#library = Deno.dlopen(LIBRARY, symbols);
    const handle = new BigUint64Array(1);
    const archX86 = 4, mode32 = 4;
    this.#check(this.#library.symbols.uc_open(archX86, mode32, handle), "open");
    this.#engine = Deno.UnsafePointer.create(handle[0]);
    for (let i = 0; i < 10; i++) {
      this.#pointers[i] = BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(this.state.subarray(i))));
    }
    const context = new BigUint64Array(1);
    this.#check(this.#library.symbols.uc_context_alloc(this.#engine, context), "allocate a context");
    this.#fresh = Deno.UnsafePointer.create(context[0]);
    this.#check(this.#library.symbols.uc_context_save(this.#engine, this.#fresh), "save a context");
    const interrupt = new Deno.UnsafeCallback(
      { parameters: ["pointer", "u32", "pointer"], result: "void" } as const,
      (engine, number) => {
        this.#vector = number;
        this.#library.symbols.uc_emu_stop(engine);
      },
    );
    this.#hook(HOOK_INTERRUPT, interrupt);
    const invalid = new Deno.UnsafeCallback(
      { parameters: ["pointer", "i32", "u64", "i32", "i64", "pointer"], result: "u8" } as const,
      (_engine, kind, address) => {
        if (this.#address < 0) {
          this.#address = Number(BigInt.asUintN(32, BigInt(address)));
          this.#access = kind;
        }
        return 0;
      },
    );
    this.#hook(HOOK_INVALID_MEMORY, invalid);
  }

  #hook(kind: number, callback: { readonly pointer: Deno.PointerObject; close(): void }): void {
    this.#callbacks.push(callback);
    const handle = new BigUint64Array(1);
    this.#check(
      this.#library.symbols.uc_hook_add(this.#engine, handle, kind, callback.pointer, null, 1n, 0n),
      "add a hook",
    );
  }

  #check(error: number, what: string): void {
    if (error === 0) return;
    const text = this.#library.symbols.uc_strerror(error);
    const reason = text === null ? `error ${error}` : Deno.UnsafePointerView.getCString(text);
    throw new Error(`Cannot ${what} in Unicorn: ${reason}`);
  }

  /**
   * Maps `bytes` (length a multiple of 4096, page-aligned: take it from a WebAssembly memory) at `address`.
   * The guest works on the bytes themselves.
   */
  map(address: number, bytes: Uint8Array<ArrayBuffer>, protection: number = Protection.all): void {
    this.#keep.push(bytes);
    this.#check(
      this.#library.symbols.uc_mem_map_ptr(
        this.#engine,
        BigInt(address),
        BigInt(bytes.length),
        protection,
        bytes,
      ),
      `map 0x${address.toString(16)}`,
    );
  }

  /**
   * Loads SS and FS from a descriptor table that is already mapped at `gdt`, also for the state that the engine
   * goes back to after an exception. (Unicorn 2.0.1 takes a base alone in 64-bit mode only, and with any
   * segment it looks again at how wide SS is.)
   */
  loadSegments(gdt: number, ss: number, fs: number): void {
    const { symbols } = this.#library;
    const fsNumber = 32, ssNumber = 49, gdtr = 243;
    const table = new DataView(new ArrayBuffer(24)); // uc_x86_mmr: selector, base at 8, limit at 16, flags
    table.setBigUint64(8, BigInt(gdt), true);
    table.setUint32(16, 0xffff, true);
    this.#check(symbols.uc_reg_write(this.#engine, gdtr, new Uint8Array(table.buffer)), "set the GDTR");
    for (const [number, selector] of [[ssNumber, ss], [fsNumber, fs]]) {
      const value = new BigUint64Array([BigInt(selector)]);
      this.#check(symbols.uc_reg_write(this.#engine, number, value), "load a segment");
    }
    this.#check(symbols.uc_context_save(this.#engine, this.#fresh), "save a context");
  }

  /** Writes code, dropping what was translated there. */
  writeCode(address: number, bytes: Uint8Array<ArrayBuffer>): void {
    this.#check(
      this.#library.symbols.uc_mem_write(this.#engine, BigInt(address), bytes, BigInt(bytes.length)),
      `write code at 0x${address.toString(16)}`,
    );
    // uc_mem_write of 2.0.1 keeps blocks that were translated from the old bytes.
    this.#check(
      this.#library.symbols.uc_ctl(
        this.#engine,
        CTL_REMOVE_CACHE,
        BigInt(address),
        BigInt(address + bytes.length),
      ),
      "drop translated code",
    );
  }

  /** Calls `each` with address and byte length of every block that is entered from now on. */
  onBlock(each: (address: number, length: number) => void): void {
    const callback = new Deno.UnsafeCallback(
      { parameters: ["pointer", "u64", "u32", "pointer"], result: "void" } as const,
      (_engine, address, length) => each(Number(address), length),
    );
    this.#hook(HOOK_BLOCK, callback);
  }

  /** Runs from `state`'s EIP to `until`, at most `count` instructions (0: no limit; a limit is slow). */
  run(until: number, count = 0): UnicornEnd {
    const { symbols } = this.#library;
    this.#vector = this.#address = this.#access = -1;
    symbols.uc_reg_write_batch(this.#engine, this.#numbers, this.#pointers, 10);
    this.#count[0] = BigInt(count);
    const error = symbols.uc_emu_start(
      this.#engine,
      BigInt(this.state[8]),
      BigInt(until),
      0n,
      new Uint8Array(this.#count.buffer),
    );
    symbols.uc_reg_read_batch(this.#engine, this.#numbers, this.#pointers, 10);
    // Unicorn remembers an exception and takes the next one for a double fault.
    if (this.#vector >= 0) symbols.uc_context_restore(this.#engine, this.#fresh);
    return { error, vector: this.#vector, address: this.#address, access: this.#access };
  }

  /** Frees the engine and the library. */
  close(): void {
    this.#library.symbols.uc_context_free(this.#fresh);
    this.#library.symbols.uc_close(this.#engine);
    for (const callback of this.#callbacks) callback.close();
    this.#library.close();
  }
}
