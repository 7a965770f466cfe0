// SPDX-License-Identifier: Apache-2.0
/**
 * Programs and guests of the lab's dom0: `xl`, `umbra`, and what waits for something to become so.
 *
 * @module
 */

/** How a program ended. */
export interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a program to its end. */
export async function command(program: string, ...args: readonly string[]): Promise<Ended> {
  const { code, stdout, stderr } = await new Deno.Command(program, { args: [...args] }).output();
  const text = new TextDecoder();
  return { code, out: text.decode(stdout), err: text.decode(stderr) };
}

/** Runs `xl`; throws with what it said when it fails. */
export async function xl(...args: readonly string[]): Promise<string> {
  const { code, out, err } = await command("xl", ...args);
  if (code !== 0) throw new Error(`Cannot go on: xl ${args.join(" ")} ended with ${code}: ${err.trim()}`);
  return out;
}

/** Waits until something is so, looking each 50 ms; throws when it is not after so many seconds. */
export async function until(
  what: string,
  seconds: number,
  so: () => boolean | Promise<boolean>,
): Promise<void> {
  const end = performance.now() + seconds * 1000;
  while (!await so()) {
    if (performance.now() > end) {
      throw new Error(`Cannot go on: after ${seconds} s there is still no ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** A domain of the lab, from `/lab/NAME.cfg`. */
export class Guest implements AsyncDisposable {
  private constructor(readonly name: string, readonly id: number) {}

  /** Creates it, paused; `settings` go over those of its configuration. */
  static async create(name: string, ...settings: readonly string[]): Promise<Guest> {
    await xl("create", "-p", "-q", `/lab/${name}.cfg`, ...settings);
    return new Guest(name, Number(await xl("domid", name)));
  }

  unpause(): Promise<string> {
    return xl("unpause", String(this.id));
  }

  /** Its domain is gone when this returns; destroying it twice is good. */
  async destroy(): Promise<void> {
    await command("xl", "destroy", String(this.id));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.destroy();
  }
}

/** A program that runs on while something else happens. */
export class Running {
  readonly #child: Deno.ChildProcess;
  readonly #out: Promise<string>;
  readonly #hearing: Promise<void>;
  /** What it said on stderr so far. */
  said = "";

  constructor(program: string, ...args: readonly string[]) {
    this.#child = new Deno.Command(program, { args: [...args], stdout: "piped", stderr: "piped" }).spawn();
    this.#out = new Response(this.#child.stdout).text();
    this.#hearing = this.#hear(this.#child.stderr);
  }

  async #hear(stderr: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    for await (const text of stderr.pipeThrough(new TextDecoderStream())) this.said += text;
  }

  /** Waits until it has said something on stderr. */
  hear(text: string, seconds: number): Promise<void> {
    return until(`"${text}" of the program`, seconds, () => this.said.includes(text));
  }

  kill(signal: Deno.Signal): void {
    this.#child.kill(signal);
  }

  async ended(): Promise<Ended> {
    const { code } = await this.#child.status;
    await this.#hearing;
    return { code, out: await this.#out, err: this.said };
  }
}
