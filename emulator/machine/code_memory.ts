// SPDX-License-Identifier: Apache-2.0
/**
 * How much machine code there is in this process: what V8 made of JavaScript and of WebAssembly.
 *
 * @module
 */

/**
 * Resident bytes of mappings that are executable and of no file (Linux, /proc/self/smaps); undefined where that
 * cannot be read.
 */
export function machineCodeBytes(): number | undefined {
  let text: string;
  try {
    text = Deno.readTextFileSync("/proc/self/smaps");
  } catch {
    return undefined;
  }
  let kilobytes = 0, counts = false;
  for (const line of text.split("\n")) {
    const mapping = /^[0-9a-f]+-[0-9a-f]+ (\S+) \S+ \S+ \d+\s*(.*)$/.exec(line);
    if (mapping) counts = mapping[1].includes("x") && (mapping[2] === "" || mapping[2].startsWith("[anon"));
    else if (counts && line.startsWith("Rss:")) kilobytes += parseInt(line.slice(4));
  }
  return kilobytes * 1024;
}
