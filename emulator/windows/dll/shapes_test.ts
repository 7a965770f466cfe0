// SPDX-License-Identifier: Apache-2.0
// Whole programs of the kinds one meets: each must start, reach its main, say what it should and end by itself.
import assert from "node:assert/strict";
import { need } from "../../../tests/means.ts";
import { createXenModel, machineFramesFor } from "../../hypervisor/mod.ts";
import { WindowsGuest } from "../mod.ts";
import { dlls } from "./mod.ts";

const SOURCES = new URL("testdata/shapes/", import.meta.url);
const FRAMES = 32 * 256;
const MAX_INSTRUCTIONS = 60_000_000;
const can = need("mingw", "mingw++");

/** A program: how it is made, and what it prints. */
interface Shape {
  readonly options: readonly string[];
  readonly resources?: string;
  readonly output: string;
}

const SHAPES: Record<string, Shape> = {
  "console.c": {
    options: ["-O2"],
    output:
      "arguments 2 one argument\nsorted 1479 1.414 text\nfile 12 twelve 9\nsignal 2\nmemory abc 1\nyear 1\n" +
      "number 127 1500 81\ninput 0\nenvironment C:\\Windows\nat exit\n",
  },
  "streams.cpp": {
    options: ["-O2", "-static", "-std=c++17"],
    output:
      "made before main 5\nbottom 0\nrethrown 7\ncaught\nno circle 2.25\n  1  3  5  9 a=3 b=1 c=1 ff 2.35\n" +
      "one+two\nrange\n",
  },
  "workers.cpp": {
    options: ["-O1", "-static", "-std=c++17"],
    output: "waited 0, sum 28, results 8, depth 0\ngood 8\n",
  },
  "window.c": {
    options: ["-mwindows", "-lcomctl32", "-lgdi32"],
    resources: "window.rc",
    output:
      "controls 1\ntext\nwindow Shape, painted 1\npressed\n[dialog] [Settings]\ndialog 42 1\ndialog gave 1\n" +
      "[shape] [done]\nticks 3, end 3, message box 1\n",
  },
  "client.c": {
    options: ["-D_WIN32_WINNT=0x0601", "-lws2_32", "-lwininet", "-lurlmon"],
    output: "start 0\nname 0 1\n[resolve] update.example.com\nlookup 11001\n[connect] 198.51.100.7:80\n" +
      "connect -1 10051\nsend -1 10057\nselect 0\nlisten 0 0\nconnected 0\n[connect] update.example.com:80\n" +
      "[request] GET /file\nrequest 0 12007\n[download] http://update.example.com/a.exe\ndownload 1 ffffffff\n",
  },
  "utility.c": {
    options: ["-municode", "-lshlwapi", "-lshell32", "-lole32"],
    output:
      "copy 1\nkey 0\nvalue 0\nquery 0 0\ndelete 0\nattributes 6\nfiles 1\nmapped 500 9\nprivate 1\nprofile 0\n" +
      "temporary 1\nmove 1\nexpand 0\nutility.exe 2\n",
  },
  "objects.c": {
    options: ["-lole32", "-loleaut32", "-luuid"],
    output:
      "start 0\nclass 800401f3\ncreate 1\nguid 0 39\nchange 0\ntext 1\narray 1 0 3 8002000d\nelement 0 77 8002000b\nmemory 1\nstring 12 1\n",
  },
  "crypto.c": {
    options: ["-ladvapi32", "-lcrypt32"],
    output:
      "context 1\nrandom 1\nsha256 ba7816bf\nimport 1\nencrypt 1 48\naes bcbeeaa6\ndecrypt 1 32 sixteen\nbase64 1\n" +
      "aGVsbG8= 1 5 hello\n",
  },
  "facts.c": {
    options: ["-lpsapi", "-lversion", "-lwinmm", "-lshlwapi", "-lshell32"],
    resources: "window.rc",
    output:
      "modules 1\nmemory 1\nversion 1 1\nfixed 1 10002\nproduct 1 Shape\ntime 1\nsound 0\nsize 117 MB\nwild 1 1\n" +
      "execute 1\nlibrary 0 126\nlookup 1 0\n",
  },
};

async function execute(program: string, args: readonly string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(program, { args: [...args], cwd: SOURCES }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
}

async function compile(folder: string, name: string, { options, resources }: Shape): Promise<Uint8Array> {
  const target = `${folder}/shape.exe`;
  const inputs = [name];
  if (resources) {
    inputs.push(`${folder}/resources.o`);
    await execute("i686-w64-mingw32-windres", [resources, inputs[1]]);
  }
  const compiler = `i686-w64-mingw32-${name.endsWith(".cpp") ? "g++" : "gcc"}`;
  await execute(compiler, ["-s", "-w", "-o", target, ...inputs, ...options]);
  return await Deno.readFile(target);
}

for (const [name, shape] of Object.entries(SHAPES)) {
  Deno.test({
    name: `a whole program runs to its end: ${name}`,
    ignore: !can,
    fn: async () => {
      const folder = await Deno.makeTempDir();
      try {
        const bytes = await compile(folder, name, shape);
        const xen = createXenModel({ frames: machineFramesFor(FRAMES) });
        const guest = new WindowsGuest(xen.createDomain({ guestFrames: FRAMES }), { dlls });
        guest.addProcess({ name: name.replace(/\..*/, ".exe"), bytes, args: ["one argument"] });
        const { end } = guest.run(MAX_INSTRUCTIONS, () => false);
        assert.equal(`${guest.output}${end?.reason}: ${end?.detail}`, `${shape.output}exited: exit code 0`);
        assert.deepEqual(guest.missing(), []);
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    },
  });
}
