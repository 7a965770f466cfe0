// SPDX-License-Identifier: Apache-2.0
/**
 * Where the peers' logs of the ring-0 kernels differ from umbra's, and why. Nothing else may differ, and each
 * of these must.
 *
 * @module
 */

/** A peer's name. */
export type PeerName = "QEMU" | "Bochs";

/** One difference: whose log of which kernel, the names of its lines, and why. */
export type KnownDifference = [peer: PeerName, kernel: string, lines: RegExp, reason: string];

const EXT = "TCG leaves EXT clear in the error code of a fault on the way to a handler (SDM volume 3, 6.13)";
const RF = "TCG does not set RF in the flags that a fault pushes (SDM volume 3, 18.3.1.1)";
const LIMITS = "TCG checks neither rights nor limits of a segment at an access, nor room on a stack";
const RESERVED_ALONE = "TCG clears P beside RSVD in an error code (SDM volume 3, 4.7: RSVD comes with P)";
const CHANGE = "TCG reads first: the error code lacks W; a real processor has it (tried on one)";
const POINTERS = "TCG reads page-directory pointers at each walk and checks none (SDM volume 3, 4.4.1)";
const WIDTH = "this model has 40 address bits, umbra's has 36";
const SHADOW = "TCG holds breakpoints back for MOV SS only as far as interrupts and single step go";
const TASK = "TCG checks less in a task switch (SDM volume 3, table 8-1)";

export const knownDifferences: readonly KnownDifference[] = [
  ["QEMU", "faults", /^(user )?icebp$|^benign: db gate/, "TCG does not know ICEBP"],
  ["QEMU", "faults", /^(8f|c6) \/1$/, "TCG ignores these digits"],
  [
    "QEMU",
    "faults",
    /^lock (mov|xchg register|test|push|bt|bts register|movs|jmp)$/,
    "TCG refuses LOCK in front of some instructions only",
  ],
  ["QEMU", "faults", /emms$|em (mp )?ts paddb$/, "TCG's MMX looks at CR0.TS before EM, its EMMS at neither"],
  ["QEMU", "faults", /^double: ud without gate$|^benign: ud gate/, EXT],
  ["QEMU", "faults", /^user mov cr1$/, "TCG looks at the privilege before it looks for the register"],
  ["QEMU", "faults", /^user (null (ds|es write)|write to code)$/, LIMITS],
  ["QEMU", "segments", /^(read|write)$/, LIMITS],
  ["QEMU", "segments", /^iret stack$/, "an absent SS is #SS, not #NP (SDM volume 2, IRET)"],
  ["Bochs", "segments", /^iret stack$/, "an absent SS is #SS, not #NP (SDM volume 2, IRET)"],
  ["QEMU", "gates", /^(int|call) stack$/, LIMITS],
  ["QEMU", "gates", /^ud (gate|gate from ring 3|stack|target from ring 3)$/, EXT],
  [
    "QEMU",
    "gates",
    /^(call|jmp) target from ring 3$/,
    "TCG looks for conforming code behind a call gate otherwise (SDM volume 3, table 5-1)",
  ],
  ["QEMU", "gates", /^iret/, "TCG keeps RF behind IRET and drops VIF and VIP"],
  [
    "QEMU",
    "gates",
    /^tss limit$/,
    "a stack takes six bytes of the TSS, not eight (SDM volume 2, CALL: TSSstackAddress + 5)",
  ],
  [
    "Bochs",
    "gates",
    /^tss limit$/,
    "a stack takes six bytes of the TSS, not eight (SDM volume 2, CALL: TSSstackAddress + 5)",
  ],
  ["QEMU", "debug", /^step (over rep|into a fault|ud2)$|^dr[45] with de$/, RF],
  ["QEMU", "debug", /^step over (lss|sti)$/, "TCG holds single step back for LSS and STI too"],
  ["QEMU", "debug", /^icebp$/, "TCG does not know ICEBP"],
  ["QEMU", "debug", /^execute rep$/, "TCG drops RF after one turn of a repeated instruction"],
  ["QEMU", "debug", /^execute behind mov ss$|^access 4: mov ss from memory$/, SHADOW],
  ["QEMU", "debug", /^step and (execute|write)$|^write and access$/, "TCG mixes causes that come together"],
  ["QEMU", "debug", /^write 1: from \+1$|unaligned register$/, "TCG takes watched bytes as they are written"],
  ["QEMU", "debug", /^dr7 of ones$/, "TCG keeps reserved bits of DR7"],
  ["QEMU", "debug", /general detect$/, "TCG does not know DR7.GD"],
  ["Bochs", "debug", /^step over rep$/, "Bochs leaves RF clear between two turns (SDM volume 3, 18.3.1.1)"],
  ["Bochs", "debug", /^general detect$/, "Bochs leaves RF clear for this fault (SDM volume 3, 18.3.1.1)"],
  [
    "Bochs",
    "debug",
    /^step and execute$/,
    "a step's trap comes before the breakpoint (SDM volume 3, table 6-2)",
  ],
  ["QEMU", "paging", /change [03]$/, CHANGE],
  ["QEMU", "paging", /^large, bit 21$/, RESERVED_ALONE],
  ["QEMU", "pae", /without nxe (read|write|fetch)|bits (40-63|36-39|12-20)/, RESERVED_ALONE],
  ["QEMU", "pae", /pointer|^pge then$|cr4 toggles pge$/, POINTERS],
  ["Bochs", "pae", /bits 36-39$/, WIDTH],
  ["QEMU", "system", /^cr0/, "TCG keeps reserved bits of CR0, and takes NW without CD"],
  ["QEMU", "system", /^(efer|pat|rdmsr of nothing|wrmsr of nothing)/, "TCG takes any value and any number"],
  ["QEMU", "system", /^sysenter with cs 3$/, "TCG takes a null selector for good when its low bits are set"],
  [
    "QEMU",
    "tasks",
    /^new |^task in ring 3$|^eip beyond|^debug trap|^gate, each selector$/,
    TASK,
  ],
  ["QEMU", "tasks", /saved flags$/, RF],
  [
    "Bochs",
    "limits",
    /^push es$/,
    "Bochs writes the low half of the word only; both are allowed (SDM volume 2, PUSH)",
  ],
];
