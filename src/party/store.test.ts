// One suite for both stores; then what only files can do: be left behind, be half written, not fit.

import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { rejectionOf } from "../../test/errors.ts";
import type { MergenError } from "../errors.ts";
import { fileStore } from "./file-store.ts";
import { type BundleStore, memoryStore } from "./store.ts";

/** What lies in a bundle folder beside the mark of the process that uses it. */
const bundlesIn = (names: readonly string[]) => names.filter((name) => name !== "owner.pid");

/** What the file system is made to do; nothing by default. */
const disk = vi.hoisted(() => ({
  calls: [] as string[],
  /** Called before each operation; may throw in its stead. */
  before: (_call: string, _index: number): void => {},
}));

vi.mock("node:fs/promises", async (original) => {
  const real = await original<typeof import("node:fs/promises")>();
  const step = (call: string) => {
    disk.calls.push(call);
    disk.before(call, disk.calls.length - 1);
  };
  const watched =
    <A extends unknown[], R>(name: string, run: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      step(name);
      return run(...args);
    };
  const open: typeof real.open = async (...args) => {
    step("open");
    const file = await real.open(...args);
    const { writeFile, sync } = file;
    file.writeFile = watched("write", writeFile.bind(file)) as typeof writeFile;
    file.sync = watched("sync", sync.bind(file));
    return file;
  };
  return {
    ...real,
    open,
    rename: watched("rename", real.rename),
    readFile: watched("readFile", real.readFile as (path: string) => Promise<Buffer>),
    rm: watched("rm", real.rm),
    readdir: watched("readdir", real.readdir as (path: string) => Promise<string[]>),
    stat: watched("stat", real.stat as (path: string) => Promise<unknown>),
    mkdir: watched("mkdir", real.mkdir as (path: string) => Promise<unknown>),
  };
});

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "mergen-store-"));
  disk.calls.length = 0;
});
afterEach(async () => {
  disk.before = () => {};
  await rm(root, { recursive: true, force: true });
});

const bytes = Uint8Array.from({ length: 1000 }, (_, i) => i * 7);
const session = "0123456789abcdef0123456789abcdef";
const other = "f".repeat(32);

const stores: [name: string, make: () => Promise<BundleStore>][] = [
  ["memory", async () => memoryStore()],
  ["files", () => fileStore(join(root, "bundles"))],
];

describe.each(stores)("a store in %s", (_name, make) => {
  it("gives what was put, once", async () => {
    const store = await make();
    await store.put(`${session}/0/dealt`, bytes);
    await store.put(`${session}/0/upload`, bytes.subarray(3, 4));
    await store.put(`${session}/1/dealt`, new Uint8Array());
    expect([...(await store.take(`${session}/0/upload`))]).toEqual([21]);
    expect([...(await store.take(`${session}/0/dealt`))]).toEqual([...bytes]);
    expect(await store.take(`${session}/1/dealt`)).toHaveLength(0);
    for (const key of ["0/dealt", "0/upload", "1/dealt"]) {
      await rejectionOf("E_CORRELATION", () => store.take(`${session}/${key}`));
    }
  });

  it("has nothing that was not put", async () => {
    const store = await make();
    await rejectionOf("E_CORRELATION", () => store.take(`${session}/0/dealt`));
    await store.put(`${session}/10/dealt`, bytes);
    await rejectionOf("E_CORRELATION", () => store.take(`${session}/1/dealt`));
  });

  it("gives a key to one of two that take it at the same time", async () => {
    const store = await make();
    await store.put(`${session}/0/dealt`, bytes);
    const takes = [1, 2, 3].map(() => store.take(`${session}/0/dealt`));
    const results = await Promise.allSettled(takes);
    const [won, lost] = [
      results.filter((result) => result.status === "fulfilled"),
      results.filter((result) => result.status === "rejected"),
    ];
    expect([won.length, lost.length]).toEqual([1, 2]);
    for (const { reason } of lost) expect((reason as MergenError).code).toBe("E_CORRELATION");
  });

  it("refuses a key that it has, and keeps the first", async () => {
    const store = await make();
    await store.put(`${session}/0/dealt`, bytes);
    await rejectionOf("E_CORRELATION", () => store.put(`${session}/0/dealt`, new Uint8Array(1)));
    expect(await store.take(`${session}/0/dealt`)).toHaveLength(bytes.length);
  });

  it("drops a session and no other", async () => {
    const store = await make();
    for (const owner of [session, other]) {
      for (const part of ["0/dealt", "0/upload", "1/dealt"])
        await store.put(`${owner}/${part}`, bytes);
    }
    await store.take(`${session}/0/dealt`);
    await store.drop(session);
    await store.drop(session); // There is nothing left, and that is no fault.
    for (const part of ["0/dealt", "0/upload", "1/dealt"]) {
      await rejectionOf("E_CORRELATION", () => store.take(`${session}/${part}`));
      expect(await store.take(`${other}/${part}`)).toHaveLength(bytes.length);
    }
  });
});

describe("files", () => {
  const dir = () => join(root, "bundles");

  it("are gone when taken, without a trace", async () => {
    const store = await fileStore(dir());
    await store.put(`${session}/0/dealt`, bytes);
    expect(bundlesIn(await readdir(dir()))).toEqual([`${session}-0-dealt.bundle`]);
    await store.take(`${session}/0/dealt`);
    expect(bundlesIn(await readdir(dir()))).toEqual([]);
  });

  it("of earlier processes are cleared at the start, and nothing else is", async () => {
    const first = await fileStore(dir());
    await first.put(`${session}/0/dealt`, bytes);
    await writeFile(join(dir(), `${session}-1-dealt.used`), bytes);
    await writeFile(join(dir(), "5d4c.partial"), bytes);
    await writeFile(join(dir(), "notes.txt"), "mine");
    const second = await fileStore(dir());
    expect(bundlesIn(await readdir(dir()))).toEqual(["notes.txt"]);
    for (const bundle of [0, 1]) {
      await rejectionOf("E_CORRELATION", () => second.take(`${session}/${bundle}/dealt`));
    }
  });

  it("that were being taken when the process died count as used", async () => {
    const store = await fileStore(dir());
    await writeFile(join(dir(), `${session}-0-dealt.used`), bytes);
    await rejectionOf("E_CORRELATION", () => store.take(`${session}/0/dealt`));
  });

  it("have no names that lead elsewhere", async () => {
    const store = await fileStore(dir());
    for (const key of ["../x", "a.b", "A", "a-b", "", "a\0"]) {
      await rejectionOf("E_INTERNAL", () => store.put(key, bytes));
      await rejectionOf("E_INTERNAL", () => store.take(key));
    }
  });

  it("are renamed and the folder is synced before a byte is read", async () => {
    const store = await fileStore(dir());
    await store.put(`${session}/0/dealt`, bytes);
    disk.calls.length = 0;
    await store.take(`${session}/0/dealt`);
    expect(disk.calls).toEqual(["rename", "open", "sync", "readFile", "rm"]);
  });

  it("are written and synced before they get their name", async () => {
    const store = await fileStore(dir());
    disk.calls.length = 0;
    await store.put(`${session}/0/dealt`, bytes);
    expect(disk.calls).toEqual(["open", "write", "sync", "stat", "rename"]);
  });

  it("cannot be where no folder can be: E_STORE names it", async () => {
    const file = join(root, "file");
    await writeFile(file, "");
    for (const bad of [file, join(file, "below")]) {
      const { message } = await rejectionOf("E_STORE", () => fileStore(bad));
      expect(message).toContain(bad);
    }
  });

  it("on a full disk: E_STORE names the folder, and nothing is left", async () => {
    const store = await fileStore(dir());
    const failWith = (code: string) => (call: string) => {
      if (call === "write") throw Object.assign(new Error("no room"), { code });
    };
    disk.before = failWith("ENOSPC");
    const full = await rejectionOf("E_STORE", () => store.put(`${session}/0/dealt`, bytes));
    expect(full.message).toContain(dir());
    expect(full.message).toContain("the disk is full");
    disk.before = failWith("EDQUOT");
    const quota = await rejectionOf("E_STORE", () => store.put(`${session}/0/dealt`, bytes));
    expect(quota.message).toContain("EDQUOT");
    disk.before = () => {};
    expect(bundlesIn(await readdir(dir()))).toEqual([]);
    await rejectionOf("E_CORRELATION", () => store.take(`${session}/0/dealt`));
    await store.put(`${session}/0/dealt`, bytes);
    expect(await store.take(`${session}/0/dealt`)).toHaveLength(bytes.length);
  });

  it("that cannot be read back are E_STORE, and used all the same", async () => {
    const store = await fileStore(dir());
    await store.put(`${session}/0/dealt`, bytes);
    disk.before = (call) => {
      if (call === "readFile") throw Object.assign(new Error("bad sector"), { code: "EIO" });
    };
    const { message } = await rejectionOf("E_STORE", () => store.take(`${session}/0/dealt`));
    expect(message).toContain("EIO");
    disk.before = () => {};
    await rejectionOf("E_CORRELATION", () => store.take(`${session}/0/dealt`));
  });

  it("are never half visible, whenever the process dies", async () => {
    // From its nth call of the file system on, the process does nothing any more.
    for (let dies = 0, done = false; !done; dies++) {
      expect(dies).toBeLessThan(40);
      const folder = join(root, `at-${dies}`);
      const store = await fileStore(folder);
      disk.calls.length = 0;
      disk.before = (_call, index) => {
        if (index >= dies) throw Object.assign(new Error("dead"), { code: "EDEAD" });
      };
      const taken: string[] = [];
      const work = async () => {
        for (const key of ["a/0", "a/1"]) await store.put(key, bytes);
        for (const key of ["a/0", "a/1"]) {
          expect((await store.take(key)).length).toBe(bytes.length);
          taken.push(key);
        }
      };
      done = await work().then(
        () => true,
        () => false,
      );
      disk.before = () => {};
      for (const name of bundlesIn(await readdir(folder))) {
        if (!name.endsWith(".bundle")) continue;
        expect(await readFile(join(folder, name))).toHaveLength(bytes.length);
        expect(taken.map((key) => `${key.replace("/", "-")}.bundle`)).not.toContain(name);
      }
      const again = await fileStore(folder);
      for (const key of ["a/0", "a/1"]) await rejectionOf("E_CORRELATION", () => again.take(key));
      expect(bundlesIn(await readdir(folder))).toEqual([]);
    }
  });
});
