// SPDX-License-Identifier: Apache-2.0
/**
 * All DLLs of the model: their images (built and put into frames at first use, shared by all processes) and
 * the numbers by which their stubs call the model.
 *
 * @module
 */
import type { Domain } from "../hypervisor/types.ts";
import { PAGE_SIZE } from "../machine/types.ts";
import type { DllDefinition, DllFunction } from "./api.ts";
import { code, ret, systemCall } from "./assembler.ts";
import { buildDllImage } from "./dll_image.ts";
import type { DllImage } from "./dll_image.ts";
import type { FrameAllocator } from "./kernel_memory.ts";
import { imagePages, parsePe, rebasedPages } from "./pe.ts";
import { toMm } from "./protection.ts";
import { Section } from "./sections.ts";
import { Mm } from "./vad.ts";

/** What a system call number stands for. */
export interface Service {
  readonly dll: string;
  readonly name: string;
  /** Absent: the function is not modelled. */
  readonly function: DllFunction | undefined;
  /** The stub removes the right number of words, so that a call of a function without model can return. */
  readonly returns: boolean;
}

/** A DLL of the model, ready to be mapped. */
export interface DllFile {
  readonly image: DllImage;
  readonly section: Section;
}

/** First system call number; Windows's own lie below 0x2000. */
const FIRST_SERVICE = 0x3000;
/** Most functions that can be called without being known at all. */
const MAX_MISSING = 4096;
const MISSING_STUB = 16;

/** See the module's description. */
export class DllRegistry {
  private readonly definitions = new Map<string, DllDefinition>();
  private readonly files = new Map<string, DllFile>();
  private readonly services: Service[] = [];
  private readonly missingIndex = new Map<string, number>();
  private missingServices = 0;
  private missingPages: Section | undefined;

  constructor(
    private readonly domain: Domain,
    private readonly frames: FrameAllocator,
    definitions: readonly DllDefinition[],
    /** Bytes that all lie lower than they say. */
    shift = 0,
    /** Functions that are in a DLL's code but not exported, by DLL. */
    private readonly internals: Readonly<Record<string, readonly DllFunction[]>> = {},
  ) {
    for (const definition of definitions) {
      this.definitions.set(definition.name, { ...definition, base: definition.base - shift });
    }
    // One block of numbers for the stubs of unknown functions, so that their code never changes.
    for (let i = 0; i < MAX_MISSING; i++) {
      this.services.push({ dll: "", name: "", function: undefined, returns: false });
    }
  }

  /** Whether a DLL is modelled; `name` in lower case with suffix. */
  has(name: string): boolean {
    return this.definitions.has(name);
  }

  /** Names of all DLLs, sorted. */
  names(): readonly string[] {
    return [...this.definitions.keys()].sort();
  }

  /** The image of a DLL, built at first use. */
  image(name: string): DllImage | undefined {
    return this.file(name)?.image;
  }

  /** A DLL of the model; undefined when there is none, or no memory for it. */
  file(name: string): DllFile | undefined {
    const known = this.files.get(name);
    if (known) return known;
    const definition = this.definitions.get(name);
    if (!definition) return undefined;
    const image = buildDllImage(definition, (functionName, one) => {
      this.services.push({ dll: name, name: functionName, function: one, returns: true });
      return FIRST_SERVICE + this.services.length - 1;
    }, this.internals[name]);
    const section = imageSection(this.domain, this.frames, image.bytes, name);
    if (!section) return undefined;
    const file = { image, section };
    this.files.set(name, file);
    return file;
  }

  /** What a system call number means. */
  service(number: number): Service | undefined {
    const service = this.services[number - FIRST_SERVICE];
    return service?.name ? service : undefined;
  }

  /** Offset, in the section of {@link missingSection}, of a stub for a function nobody knows. */
  missingStub(dll: string, name: string): number | undefined {
    const key = `${dll}!${name}`;
    let index = this.missingIndex.get(key);
    if (index === undefined) {
      if (this.missingServices >= MAX_MISSING) return undefined;
      index = this.missingServices++;
      this.missingIndex.set(key, index);
      this.services[index] = { dll, name, function: undefined, returns: false };
    }
    return index * MISSING_STUB;
  }

  /** The section with the stubs of unknown functions; undefined when there is no memory for it. */
  missingSection(): Section | undefined {
    if (this.missingPages) return this.missingPages;
    const perPage = PAGE_SIZE / MISSING_STUB;
    const section = new Section(this.domain, this.frames, MAX_MISSING / perPage, Mm.executeRead);
    for (let page = 0; page < section.pages; page++) {
      const bytes = new Uint8Array(PAGE_SIZE).fill(0xcc);
      for (let i = 0; i < perPage; i++) {
        bytes.set(code(systemCall(FIRST_SERVICE + page * perPage + i), ret(0)), i * MISSING_STUB);
      }
      if (!section.fill(page, bytes)) return undefined;
    }
    return this.missingPages = section;
  }
}

/**
 * A section object with the content of a PE file, moved to another base where one is given; undefined when
 * there is no memory for it, or it cannot be moved.
 */
export function imageSection(
  domain: Domain,
  frames: FrameAllocator,
  bytes: Uint8Array,
  name: string,
  newBase?: number,
): Section | undefined {
  const pe = parsePe(bytes, name, { allowDll: true });
  const pages = newBase === undefined ? imagePages(pe) : rebasedPages(pe, newBase);
  if (!pages) return undefined;
  const wanted = pages.reduce((sum, page) => sum + (page.bytes ? 1 : 0), 0);
  if (wanted > frames.free) return undefined;
  const protects = Uint8Array.from(pages, (page) => toMm(page.protect) ?? Mm.noAccess);
  const section = new Section(domain, frames, pages.length, Mm.executeWriteCopy, {
    image: { protects, base: newBase ?? pe.imageBase },
  });
  pages.forEach((page, i) => page.bytes && section.fill(i, page.bytes));
  return section;
}
