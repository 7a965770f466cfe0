// SPDX-License-Identifier: Apache-2.0
/**
 * What tests need from the machine beyond Deno. A test without its means is ignored on a developer's machine
 * and fails where `CI=true`.
 *
 * @module
 */

/** Each means: how it is recognised, and the Debian package that brings it. */
const MEANS = {
  "mingw": { program: "i686-w64-mingw32-gcc", package: "gcc-mingw-w64-i686-win32" },
  "mingw++": { program: "i686-w64-mingw32-g++", package: "g++-mingw-w64-i686-win32" },
  "nasm": { program: "nasm", package: "nasm" },
  "gcc": { program: "gcc", package: "gcc" },
  "gcc-m32": { file: "/usr/lib/gcc/x86_64-linux-gnu/*/32/crtbegin.o", package: "gcc-multilib" },
  "chromium": { program: "chromium", package: "chromium" },
  "clamscan": { program: "clamscan", package: "clamav" },
  "clamd": { program: "clamd", package: "clamav-daemon" },
  "clamav-testfiles": { file: "/usr/share/clamav-testfiles/clam-upx.exe", package: "clamav-testfiles" },
  "qemu-system-i386": { program: "qemu-system-i386", package: "qemu-system-x86" },
  "bochs": { program: "bochs-bin", package: "bochs bochs-term" },
  "libunicorn2": { file: "/usr/lib/x86_64-linux-gnu/libunicorn.so.2", package: "libunicorn2" },
} as const satisfies Record<
  string,
  { readonly program?: string; readonly file?: string; readonly package: string }
>;

/** Name of a means. */
export type Means = keyof typeof MEANS;

/**
 * True when all of these are at hand: `Deno.test({ name, ignore: !need("nasm"), fn })`. Otherwise says so on
 * stderr and returns false; where `CI=true` it throws, so that a skip is a failure.
 */
export function need(...names: readonly Means[]): boolean {
  const missing = names.filter((name) => !present(name));
  if (missing.length === 0) return true;
  const packages = missing.map((name) => MEANS[name].package).join(" ");
  const said = `${missing.join(", ")} not found (apt-get install ${packages})`;
  if (Deno.env.get("CI") === "true") throw new Error(`Cannot run a test: ${said}`);
  console.error(`skipped: ${said}`);
  return false;
}

function present(name: Means): boolean {
  const means: { readonly program?: string; readonly file?: string } = MEANS[name];
  if (means.file) return matches(means.file);
  const folders = (Deno.env.get("PATH") ?? "/usr/bin:/bin").split(":");
  return folders.some((folder) => matches(`${folder}/${means.program}`));
}

/** True when the path exists; one component may be `*`. */
function matches(path: string): boolean {
  const star = path.indexOf("/*/");
  try {
    if (star < 0) return Deno.statSync(path).isFile;
    const [before, after] = [path.slice(0, star), path.slice(star + 3)];
    return [...Deno.readDirSync(before)].some((entry) => matches(`${before}/${entry.name}/${after}`));
  } catch {
    return false;
  }
}
