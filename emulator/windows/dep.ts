// SPDX-License-Identifier: Apache-2.0
/**
 * Data execution prevention of a process: whether code may run in pages that are not executable, by the
 * system's policy, the program's wish and what it asks for later.
 *
 * Source: documentation of SetProcessDEPPolicy and GetSystemDEPPolicy.
 *
 * @module
 */
import type { DepPolicy } from "../../core/ports.ts";
import { Status } from "./constants.ts";
import type { PeFile } from "./pe.ts";

/** MEM_EXECUTE_OPTION_…: what ProcessExecuteFlags says and sets. */
export const ExecuteOption = {
  /** DEP is on. */
  disable: 1,
  /** DEP is off. */
  enable: 2,
  disableThunks: 4,
  permanent: 8,
  /** Exception handlers may lie in data, and outside of images. */
  dispatch: 0x30,
} as const;

/** The policies as GetSystemDEPPolicy and KUSER_SHARED_DATA number them. */
export const DEP_POLICIES: Readonly<Record<DepPolicy, number>> = { alwayson: 1, optin: 2, optout: 3 };

/** Sections of protectors that Windows knows not to live with DEP. */
const INCOMPATIBLE = new Set([".aspack", ".pcle", ".sforce"]);

/** DEP of one process. */
export class ExecutionPrevention {
  private flags: number;

  constructor(private readonly policy: DepPolicy, pe: PeFile) {
    const known = pe.sections.some(({ name }) => INCOMPATIBLE.has(name));
    const isOn = pe.nxCompatible || policy === "alwayson" || (policy === "optout" && !known);
    const isFixed = pe.nxCompatible || policy === "alwayson";
    const { disable, enable, disableThunks, permanent, dispatch } = ExecuteOption;
    this.flags = isOn ? disable | (isFixed ? permanent | disableThunks : 0) : enable | dispatch;
  }

  /** Whether pages must be executable to run. */
  get isOn(): boolean {
    return (this.flags & ExecuteOption.disable) !== 0;
  }

  /** What NtQueryInformationProcess (ProcessExecuteFlags) answers. */
  get executeFlags(): number {
    return this.flags;
  }

  /** NtSetInformationProcess (ProcessExecuteFlags). Returns a status. */
  setExecuteFlags(flags: number): number {
    const { disable, enable, dispatch } = ExecuteOption;
    if ((flags & disable) !== 0 === ((flags & enable) !== 0) || flags > 0x3f) return Status.invalidParameter;
    if (this.policy === "alwayson" || this.flags & ExecuteOption.permanent) return Status.accessDenied;
    this.flags = flags & enable ? flags | dispatch : flags & ~dispatch;
    return Status.success;
  }
}
