import { expect, test } from "vitest";
import { fromHex } from "../../test/kernel-data.ts";
import { encryptAesBlock, expandAesKey } from "./aes-reference.ts";

const vectors = [
  {
    name: "FIPS 197, appendix B",
    key: "2b7e151628aed2a6abf7158809cf4f3c",
    plain: "3243f6a8885a308d313198a2e0370734",
    cipher: "3925841d02dc09fbdc118597196a0b32",
  },
  {
    name: "FIPS 197, appendix C.1",
    key: "000102030405060708090a0b0c0d0e0f",
    plain: "00112233445566778899aabbccddeeff",
    cipher: "69c4e0d86a7b0430d8cdb78070b4c55a",
  },
];

test.each(vectors)("AES-128: $name", ({ key, plain, cipher }) => {
  const out = encryptAesBlock(expandAesKey(fromHex(key)), fromHex(plain));
  expect(Buffer.from(out).toString("hex")).toBe(cipher);
});

test("AES-128: last round key of FIPS 197, appendix A.1", () => {
  const roundKeys = expandAesKey(fromHex("2b7e151628aed2a6abf7158809cf4f3c"));
  const last = Buffer.from(roundKeys.subarray(160)).toString("hex");
  expect(last).toBe("d014f9a8c9ee2589e13f0cc8b6630ca6");
});
