// SPDX-License-Identifier: Apache-2.0
/**
 * The modules of a process: finding them by name, loading more, addresses of their exports.
 *
 * @module
 */
import type { ApiCall, Module, Modules, Request } from "./api.ts";
import type { KernelCall } from "./api_call.ts";
import { callDll, Reason, shutDown } from "./callouts.ts";
import { get16, get32 } from "./bytes.ts";
import type { DllImage } from "./dll_image.ts";
import type { Kernel } from "./kernel.ts";
import { loadLibrary, unloadModule } from "./loader.ts";
import type { Process } from "./process.ts";
import { GuestFault } from "./user_memory.ts";

/** A module of a process. */
export interface LoadedModule extends Module {
  /** Set for DLLs of the model. */
  readonly image: DllImage | undefined;
  /** How often it was loaded by request; absent: it stays for good. */
  references?: number;
  /** Its entry point was called. */
  attached?: boolean;
  /** Address of its LDR_DATA_TABLE_ENTRY. */
  entry?: number;
}

/** Which DLL stands behind an API set, by the set's prefix. */
const API_SETS: readonly (readonly [string, readonly string[]])[] = [
  ["api-ms-win-crt-", ["ucrtbase.dll", "msvcrt.dll"]],
  ["api-ms-win-security-", ["advapi32.dll", "kernel32.dll"]],
  ["api-ms-win-service-", ["advapi32.dll"]],
  ["api-ms-win-eventing-", ["advapi32.dll"]],
  ["api-ms-win-core-", ["kernel32.dll", "kernelbase.dll", "ntdll.dll", "advapi32.dll"]],
  ["api-ms-win-", ["kernel32.dll", "advapi32.dll", "user32.dll"]],
  ["ext-ms-win-", ["user32.dll", "kernel32.dll"]],
];

/** Depth of forwards that are followed. */
const MAX_FORWARDS = 8;

/** File name in lower case with suffix: how modules are compared. */
export function moduleKey(name: string): string {
  const base = name.slice(Math.max(name.lastIndexOf("\\"), name.lastIndexOf("/")) + 1).toLowerCase()
    .trimEnd();
  if (base.endsWith(".")) return base.slice(0, -1);
  return base.includes(".") ? base : `${base}.dll`;
}

/** DLLs that a name may stand for, first choice first. */
export function hostsOf(key: string): readonly string[] {
  return API_SETS.find(([prefix]) => key.startsWith(prefix))?.[1] ?? [key];
}

/** Modules of the calling process. */
export class ProcessModules implements Modules {
  /** `call` makes the initial content of variables of DLLs that get loaded. */
  constructor(
    private readonly kernel: Kernel,
    private readonly process: Process,
    private readonly call: ApiCall,
  ) {}

  get main(): LoadedModule {
    return this.process.modules[0];
  }

  find(name: string): LoadedModule | undefined {
    const wanted = hostsOf(moduleKey(name));
    for (const key of wanted) {
      const found = this.process.modules.find((module) => module.name.toLowerCase() === key);
      if (found) return found;
    }
    return undefined;
  }

  at(address: number): LoadedModule | undefined {
    return this.process.modules.find((one) => address >= one.base && address < one.base + one.size);
  }

  load(name: string): LoadedModule | undefined {
    const known = this.find(name);
    const module = known ?? loadLibrary(this.kernel, this.process, this.call, name);
    if (!module || module.image) return module;
    if (module.references !== undefined) module.references++;
    else if (!known) module.references = 1;
    return module;
  }

  *attach(module: Module): Generator<Request, boolean, number> {
    const call = this.call as KernelCall;
    const { initialized } = this.process;
    // What came with it and was not called yet, dependencies first.
    for (const one of initialized.filter(({ attached }) => !attached)) {
      one.attached = true;
      const went = yield* callDll(call, one, Reason.processAttach, 0);
      if (went === 0 && one === module) {
        yield* callDll(call, one, Reason.processDetach, 0);
        unloadModule(this.process, one);
        return false;
      }
    }
    return true;
  }

  *release(module: Module): Generator<Request, void, number> {
    const loaded = module as LoadedModule;
    if (loaded.references === undefined || --loaded.references > 0) return;
    yield* callDll(this.call as KernelCall, loaded, Reason.processDetach, 0);
    unloadModule(this.process, loaded);
  }

  silence(module: Module): void {
    this.process.quiet.add(module.base);
  }

  shutDown(): Generator<Request, void, number> {
    return shutDown(this.call as KernelCall);
  }

  export(module: Module, name: string | number): number {
    return this.lookUp(module as LoadedModule, name, 0);
  }

  all(): readonly LoadedModule[] {
    return this.process.modules;
  }

  /** Address for an import: a stub that says what is missing stands for what nobody has. */
  importAddress(dll: string, name: string | number): number {
    for (const host of hostsOf(moduleKey(dll))) {
      const module = this.find(host) ?? loadLibrary(this.kernel, this.process, this.call, host);
      const address = module ? this.lookUp(module, name, 0) : 0;
      if (address !== 0) return address;
    }
    return this.kernel.missingAddress(this.process, dll, typeof name === "number" ? `#${name}` : name);
  }

  private lookUp(module: LoadedModule, name: string | number, depth: number): number {
    if (depth > MAX_FORWARDS) return 0;
    if (!module.image) return this.lookUpInMemory(module, name, depth);
    const exported = typeof name === "number" ? this.byOrdinal(module.image, name) : name;
    const found = exported === undefined ? undefined : module.image.exports.get(exported);
    if (!found) return 0;
    return found.kind === "forward" ? this.follow(found.target, depth) : module.base + found.rva;
  }

  /** Only ordinals that are facts count: the others are numbered as it happens. */
  private byOrdinal(image: DllImage, ordinal: number): string | undefined {
    const name = image.byOrdinal.get(ordinal);
    return name !== undefined && image.definition.ordinals?.[name] === ordinal ? name : undefined;
  }

  private follow(target: string, depth: number): number {
    const dot = target.lastIndexOf(".");
    if (dot <= 0) return 0;
    const symbol = target.slice(dot + 1);
    const wanted = /^#\d+$/.test(symbol) ? Number(symbol.slice(1)) : symbol;
    for (const host of hostsOf(moduleKey(target.slice(0, dot) + ".dll"))) {
      const module = this.find(host) ?? loadLibrary(this.kernel, this.process, this.call, host);
      const address = module ? this.lookUp(module, wanted, depth + 1) : 0;
      if (address !== 0) return address;
    }
    return 0;
  }

  /** Export of a module that is not the model's, from its export directory in memory. */
  private lookUpInMemory(module: LoadedModule, name: string | number, depth: number): number {
    const memory = this.process.user!.memory;
    try {
      const optional = module.base + memory.u32(module.base + 0x3c) + 0x18;
      const rva = memory.u32(optional + 0x60);
      const size = memory.u32(optional + 0x64);
      if (rva === 0) return 0;
      const directory = memory.bytes(module.base + rva, 40);
      const index = typeof name === "number"
        ? name - get32(directory, 16)
        : this.nameIndex(module, directory, name);
      if (index === undefined || index < 0 || index >= get32(directory, 20)) return 0;
      const target = memory.u32(module.base + get32(directory, 28) + index * 4);
      if (target === 0) return 0;
      if (target < rva || target >= rva + size) return (module.base + target) >>> 0;
      return this.follow(memory.text(module.base + target, false, 256), depth);
    } catch (error) {
      if (error instanceof GuestFault) return 0;
      throw error;
    }
  }

  private nameIndex(module: LoadedModule, directory: Uint8Array, name: string): number | undefined {
    const memory = this.process.user!.memory;
    const count = Math.min(get32(directory, 24), 0x1_0000);
    const names = memory.bytes(module.base + get32(directory, 32), count * 4);
    for (let i = 0; i < count; i++) {
      const at = module.base + get32(names, i * 4);
      if (memory.text(at, false, 512) !== name) continue;
      return get16(memory.bytes(module.base + get32(directory, 36) + i * 2, 2), 0);
    }
    return undefined;
  }
}
