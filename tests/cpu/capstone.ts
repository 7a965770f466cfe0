// SPDX-License-Identifier: Apache-2.0
/**
 * Compares umbra's decoder with capstone (npm `capstone-wasm`): lengths and names of instructions.
 *
 * @module
 */
import { Capstone, Const, loadCapstone } from "capstone-wasm";
import { decode, Instruction } from "../../emulator/isa/mod.ts";

/** Names that mean the same; the rest agree letter by letter. Left umbra's (Intel's older names), right capstone's. */
const SAME: Readonly<Record<string, string>> = {
  "call far": "lcall",
  "jmp far": "ljmp",
  "ret far": "retf",
  fcomip: "fcompi",
  fndisi: "fdisi8087_nop",
  fneni: "feni8087_nop",
  fnsetpm: "fsetpm",
  fucomip: "fucompi",
  cmovnb: "cmovae",
  cmovnz: "cmovne",
  cmovz: "cmove",
  fwait: "wait",
  icebp: "int1",
  jnb: "jae",
  jnz: "jne",
  jz: "je",
  setnb: "setae",
  setnz: "setne",
  setz: "sete",
  xlat: "xlatb",
};

/** Names that capstone spells by operand or address size. */
const BY_SIZE: Readonly<Record<string, readonly string[]>> = {
  "call far": ["lcall", "call"],
  cbw: ["cbw", "cwde"],
  cwd: ["cwd", "cdq"],
  cmpsw: ["cmpsw", "cmpsd"],
  insw: ["insw", "insd"],
  iret: ["iret", "iretd"],
  jcxz: ["jcxz", "jecxz"],
  "jmp far": ["ljmp", "jmp"],
  lodsw: ["lodsw", "lodsd"],
  movsw: ["movsw", "movsd"],
  outsw: ["outsw", "outsd"],
  popa: ["popaw", "popal"],
  popf: ["popf", "popfd"],
  pusha: ["pushaw", "pushal"],
  pushf: ["pushf", "pushfd"],
  "ret far": ["retf"],
  scasw: ["scasw", "scasd"],
  stosw: ["stosw", "stosd"],
};

/** A kind of disagreement. `ours` and `theirs` match whole names. */
interface Explanation {
  readonly ours: RegExp;
  readonly theirs: RegExp;
  readonly reason: string;
  /** The lengths may differ too. */
  readonly anyLength?: boolean;
  /** What else must hold of the bytes. */
  readonly when?: (bytes: Uint8Array) => boolean;
}
const explanation = (e: Explanation): Explanation => ({
  ...e,
  ours: new RegExp(`^(${e.ours.source})$`),
  theirs: new RegExp(`^(${e.theirs.source})$`),
});

const PREFIXES = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3];

/** Index of the first byte that is no prefix. */
const opcodeAt = (bytes: Uint8Array) => bytes.findIndex((byte) => !PREFIXES.includes(byte));
/** Opcodes behind 0F that a prefix selects one of. */
const isSse = (o: number) =>
  (o >= 0x10 && o <= 0x17) || (o >= 0x28 && o <= 0x2f) || (o >= 0x50 && o <= 0x7f) || o === 0xae ||
  (o >= 0xc2 && o <= 0xc6) || o >= 0xd0 || o === 0x38 || o === 0x3a;

/** Where the two disagree and umbra is right, or the question does not arise. */
const EXPLAINED: readonly Explanation[] = ([
  {
    ours: /nop/,
    theirs: /\(none\)|bnd\w+|prefetch\w*|cldemote|pause|endbr\d+|rdssp\w/,
    reason: "hints are NOP on a processor without them (SDM volume 2, NOP; PREFETCHh; PAUSE)",
  },
  {
    ours: /mov/,
    theirs: /\(none\)/,
    reason: "MOV with a segment register 6 or 7, or CS as its target: #UD when it is run",
  },
  {
    ours: /\(undefined\)/,
    theirs: /mov/,
    reason: "there are CR0, CR2, CR3 and CR4: MOV with another control register is #UD (SDM volume 2, MOV)",
    when: (bytes) => {
      const opcode = opcodeAt(bytes);
      return bytes[opcode] === 0x0f && [0x20, 0x22].includes(bytes[opcode + 1]) &&
        [1, 5, 6, 7].includes((bytes[opcode + 2] >> 3) & 7);
    },
  },
  {
    ours: /f(com|comp|xch|stp)/,
    theirs: /\(none\)/,
    reason: "DC D0 to DF, DD C8, DE D0, DF C8 to DF repeat other x87 encodings; every processor runs them",
  },
  {
    ours: /ud1/,
    theirs: /ud1/,
    reason: "UD1 has a ModRM byte (SDM volume 2, UD); capstone passes over it. #UD either way",
    anyLength: true,
  },
  {
    ours: /bsf|bsr|wbinvd/,
    theirs: /tzcnt|lzcnt|wbnoinvd/,
    reason: "F3 says nothing on a processor without BMI, LZCNT, WBNOINVD",
  },
  {
    ours: /[a-z]\w+/,
    theirs: /\(none\)/,
    reason:
      "capstone refuses F2 and F3 with other prefixes before some 0F opcodes; processors pass over them",
    when: (bytes) => {
      const opcode = opcodeAt(bytes);
      return bytes[opcode] === 0x0f &&
        bytes.subarray(0, opcode).some((byte) => byte === 0xf2 || byte === 0xf3);
    },
  },
  {
    ours: /\(undefined\)/,
    theirs:
      /rsm|getsec|femms|syscall|sysret|x(save|rstor|abort|begin|end|test|getbv|setbv|crypt|sha|store)\w*|v[a-z]\w+|pf\w+|pi2\w+|pswapd|pavgusb|pmulhrw|mwaitx?|monitorx?|clgi|stgi|skinit|invlpga|invept|clac|stac|swapgs|clzero|rdpkru|wrpkru|encl\w|enclu|lwpcb|montmul|ud[01]|cl(rssbsy|ui)|setssbsy|saveprevssp|rstorssp|incssp\w|rdrand|rdseed|rdpid|k\w+|bextr|andn|bls\w+|tzcnt|lzcnt|popcnt|crc32|movbe|ad[co]x|llwpcb|slwpcb|pcommit|wbnoinvd|hreset|jmpe|loadall|rdfsbase|rdgsbase|wrfsbase|wrgsbase|cmpxchg16b|invd|xs\w+|xr\w+|pconfig|hlt|tdcall|seamcall|serialize|movnts[sd]|extrq|insertq|ptwrite|umonitor|umwait|tpause|clwb|clflushopt|wrshr|rdshr|smint|dmint|rdm|svldt|rsldt|svts|rsts|svdc|rsdc|cpu_read|cpu_write|bb[01]_reset|t1mskc|blc\w+|tzmsk/,
    reason: "extensions that the modelled processor has not: #UD",
  },
  {
    ours: /\(undefined\)/,
    theirs: /(?!(pshufb|ph(add|sub)(w|d|sw)|pmaddubsw|psign[bwd]|pmulhrsw|pabs[bwd]|palignr)$)\w+/,
    reason:
      "behind 0F 38 and 0F 3A the modelled processor has SSSE3 only: #UD for SSE4, AES, SHA, ADX and the rest",
    when: (bytes) => {
      const opcode = opcodeAt(bytes);
      return bytes[opcode] === 0x0f && (bytes[opcode + 1] === 0x38 || bytes[opcode + 1] === 0x3a);
    },
  },
  {
    ours: /\(undefined\)/,
    theirs: /\w+/,
    reason: "VEX and EVEX: LES, LDS and BOUND with a register are #UD on the modelled processor",
    when: (bytes) => [0xc4, 0xc5, 0x62].includes(bytes[opcodeAt(bytes)]),
  },
  {
    ours: /\(undefined\)/,
    theirs: /\w+/,
    reason:
      "66, F2 or F3 before an SSE opcode that has no meaning with it is #UD on processors; capstone passes over it",
    when: (bytes) => {
      const opcode = opcodeAt(bytes);
      return bytes[opcode] === 0x0f &&
        [0x66, 0xf2, 0xf3].some((p) => bytes.subarray(0, opcode).includes(p)) &&
        isSse(bytes[opcode + 1]);
    },
  },
  {
    ours: /\w+/,
    theirs: /\w+/,
    reason:
      "F2 or F3 selects the instruction although there is a 66 too (the host CPU test has such); capstone goes by the 66",
    when: (bytes) => {
      const opcode = opcodeAt(bytes);
      const before = bytes.subarray(0, opcode);
      return bytes[opcode] === 0x0f && before.includes(0x66) &&
        (before.includes(0xf2) || before.includes(0xf3));
    },
  },
  {
    ours: /\(undefined\)/,
    theirs: /\w+/,
    reason: "LOCK before what takes none is #UD (SDM volume 2, LOCK); capstone lets it pass",
    when: (bytes) => {
      const opcode = opcodeAt(bytes);
      return bytes.subarray(0, opcode).includes(0xf0);
    },
  },
] satisfies Explanation[]).map(explanation);

/** What came of a comparison. */
export interface DecoderComparison {
  readonly compared: number;
  /** Encodings that are no instruction for either. */
  readonly undefined: number;
  /** Differences that have an explanation, by its reason. */
  readonly explained: ReadonlyMap<string, number>;
  /** Unexplained differences, one text for each kind. */
  readonly differences: readonly string[];
}

/** Opens capstone for 32-bit code. */
export async function openCapstone(): Promise<Capstone> {
  await loadCapstone();
  return new Capstone(Const.CS_ARCH_X86, Const.CS_MODE_32);
}

/** An instruction as capstone reads it; `(none)` of size 0 where it reads none. */
interface Theirs {
  readonly mnemonic: string;
  readonly size: number;
  readonly text: string;
}
const NONE: Theirs = { mnemonic: "(none)", size: 0, text: "(none)" };

function* disassemble(capstone: Capstone, bytes: Uint8Array, count?: number): Generator<Theirs> {
  let instructions: ReturnType<Capstone["disasm"]> = [];
  try {
    instructions = capstone.disasm(bytes, { address: 0x1000, count });
  } catch {
    // capstone-wasm throws when nothing was decoded.
  }
  for (const { mnemonic, size, opStr } of instructions) {
    const name = mnemonic.replace(
      /^((lock|rep|repe|repne|repz|repnz|bnd|xacquire|xrelease|notrack|data16|addr16) )+/,
      "",
    );
    yield { mnemonic: name, size, text: `${mnemonic} ${opStr}` };
  }
}

function sameName(ours: string, theirs: string): boolean {
  return ours === theirs || SAME[ours] === theirs || (BY_SIZE[ours]?.includes(theirs) ?? false) ||
    (ours === "sal" && theirs === "shl") ||
    // CMPPS and its kin: capstone puts the predicate into the name.
    (/^cmp[ps][sd]$/.test(ours) && /^cmp[a-z]+[ps][sd]$/.test(theirs) && ours.slice(3) === theirs.slice(-2));
}

/** Compares umbra's decoder with capstone, instruction by instruction, and counts. */
export class DecoderCheck {
  readonly #capstone: Capstone;
  readonly #out = new Instruction();
  readonly #kinds = new Map<string, string>();
  readonly #explained = new Map<string, number>();
  #compared = 0;
  #undefined = 0;

  constructor(capstone: Capstone) {
    this.#capstone = capstone;
  }

  /** Compares the first instruction of a byte string (16 bytes or more). */
  first(bytes: Uint8Array): void {
    const [theirs = NONE] = disassemble(this.#capstone, bytes, 1);
    this.#compare(bytes, theirs);
  }

  /** Compares all instructions of code, one behind the other as capstone reads them. */
  all(code: Uint8Array): void {
    for (let at = 0; at + 16 <= code.length;) {
      for (const theirs of disassemble(this.#capstone, code.subarray(at, at + 4096))) {
        // One at the end may be cut off.
        if (at + 16 > code.length) return;
        this.#compare(code.subarray(at, at + 16), theirs);
        at += theirs.size;
      }
      if (at + 16 > code.length) return;
      const [theirs = NONE] = disassemble(this.#capstone, code.subarray(at, at + 16), 1);
      this.#compare(code.subarray(at, at + 16), theirs);
      at += theirs.size || 1;
    }
  }

  get result(): DecoderComparison {
    return {
      compared: this.#compared,
      undefined: this.#undefined,
      explained: this.#explained,
      differences: [...this.#kinds.values()],
    };
  }

  #compare(bytes: Uint8Array, theirs: Theirs): void {
    const out = this.#out;
    this.#compared++;
    const length = decode(bytes, 0, bytes.length, true, out);
    const ours = length <= 0 ? "(undefined)" : out.row.mnemonic;
    if (ours === "(undefined)" && theirs.size === 0) {
      this.#undefined++;
      return;
    } else if (sameName(ours, theirs.mnemonic) && theirs.size === length) {
      return;
    }
    const explained = EXPLAINED.find((row) =>
      row.ours.test(ours) && row.theirs.test(theirs.mnemonic) &&
      (ours === "(undefined)" || theirs.size === 0 || theirs.size === length || row.anyLength) &&
      (row.when === undefined || row.when(bytes))
    );
    if (explained !== undefined) {
      this.#explained.set(explained.reason, (this.#explained.get(explained.reason) ?? 0) + 1);
      return;
    }
    const kind = `${ours} / ${theirs.mnemonic}${theirs.size === length ? "" : " (length)"}`;
    if (this.#kinds.has(kind)) return;
    this.#kinds.set(
      kind,
      `${bytes.subarray(0, 15).toHex()}: umbra ${ours}, ${length} bytes; ` +
        `capstone ${theirs.text}, ${theirs.size} bytes`,
    );
  }
}
