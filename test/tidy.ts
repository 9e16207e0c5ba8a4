// What the tidy test looks at: files of the repository, their imports and the lengths of their
// functions, read with the TypeScript parser.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, sep } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";

export const root = fileURLToPath(new URL("..", import.meta.url));

/** Folders that hold what is written by hand. */
export const codeFolders = [
  "apps",
  "assembly",
  "bench",
  "bin",
  "examples",
  "native",
  "src",
  "test",
];
const skipped = ["node_modules", "build", "dist"];

export interface Import {
  /** As written. */
  readonly specifier: string;
  /** Path from the repository's root, of a relative one. */
  readonly path: string | undefined;
  /** Vanishes with the types. */
  readonly typeOnly: boolean;
}

/** Paths, from the root, of the files below some folders whose names end in one of `ends`. */
export function filesIn(folders: readonly string[], ends: readonly string[]): string[] {
  return folders.flatMap((folder) => {
    if (!existsSync(join(root, folder))) return [];
    const entries = readdirSync(join(root, folder), { withFileTypes: true, recursive: true });
    return entries
      .filter((entry) => entry.isFile() && ends.some((end) => entry.name.endsWith(end)))
      .map((entry) => slashes(join(entry.parentPath, entry.name).slice(root.length)))
      .filter((path) => !path.split("/").some((part) => skipped.includes(part)));
  });
}

export function textOf(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

export function exists(path: string): boolean {
  return existsSync(join(root, path));
}

const parsed = new Map<string, ts.SourceFile>();

export function parse(path: string): ts.SourceFile {
  let file = parsed.get(path);
  if (!file) {
    file = ts.createSourceFile(path, textOf(path), ts.ScriptTarget.Latest, true);
    parsed.set(path, file);
  }
  return file;
}

/** What a file imports and exports again, and what it imports on demand. */
export function importsOf(path: string): Import[] {
  const found: Import[] = [];
  const add = (node: ts.Node | undefined, typeOnly: boolean) => {
    if (!node || !ts.isStringLiteral(node)) return;
    const specifier = node.text;
    const relative = specifier.startsWith(".");
    const target = relative ? slashes(normalize(join(dirname(path), specifier))) : undefined;
    found.push({ specifier, path: target, typeOnly });
  };
  walk(parse(path), (node) => {
    if (ts.isImportDeclaration(node)) {
      // Without the word `type` before its names an import stays, whatever they are.
      const typeOnly = node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword;
      add(node.moduleSpecifier, typeOnly);
    } else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly);
    else if (ts.isImportTypeNode(node)) {
      if (ts.isLiteralTypeNode(node.argument)) add(node.argument.literal, true);
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      add(node.arguments[0], false);
    }
  });
  return found;
}

/** The npm package of a specifier that is neither relative nor Node's. */
export function packageOf(specifier: string): string | undefined {
  if (specifier.startsWith(".") || specifier.startsWith("node:")) return undefined;
  return specifier.split("/", specifier.startsWith("@") ? 2 : 1).join("/");
}

/** All files that a file needs when it runs, itself among them. */
export function closureOf(entry: string): string[] {
  const reached = new Set([entry]);
  for (const path of reached) {
    for (const { path: target, typeOnly } of importsOf(path)) {
      if (target !== undefined && !typeOnly) reached.add(target);
    }
  }
  return [...reached];
}

/** Names that a file takes from nowhere: globals, among others that it declares itself. */
export function identifiersOf(path: string): Set<string> {
  const names = new Set<string>();
  walk(parse(path), (node) => {
    if (!ts.isIdentifier(node)) return;
    const { parent } = node;
    const property = ts.isPropertyAccessExpression(parent) && parent.name === node;
    if (!property && !ts.isPropertyAssignment(parent) && !ts.isTypeReferenceNode(parent)) {
      names.add(node.text);
    }
  });
  return names;
}

export interface FunctionLength {
  readonly name: string;
  readonly line: number;
  readonly lines: number;
}

/** All functions of a file; those that group tests (`describe`) are no functions in this sense. */
export function functionLengths(path: string): FunctionLength[] {
  const file = parse(path);
  const lineOf = (position: number) => file.getLineAndCharacterOfPosition(position).line + 1;
  const found: FunctionLength[] = [];
  walk(file, (node) => {
    if (!ts.isFunctionLike(node) || !("body" in node) || !node.body || groupsTests(node)) return;
    const line = lineOf(node.getStart(file));
    found.push({ name: nameOf(node), line, lines: lineOf(node.end) - line + 1 });
  });
  return found;
}

function groupsTests({ parent }: ts.Node): boolean {
  if (!ts.isCallExpression(parent)) return false;
  return /^(describe|suite)\b/.test(parent.expression.getText());
}

function nameOf(node: ts.SignatureDeclaration): string {
  if (node.name) return node.name.getText();
  const { parent } = node;
  if (ts.isVariableDeclaration(parent) || ts.isPropertyAssignment(parent)) {
    return parent.name.getText();
  }
  return ts.isConstructorDeclaration(node) ? "constructor" : "(anonymous)";
}

function walk(node: ts.Node, visit: (node: ts.Node) => void): void {
  visit(node);
  ts.forEachChild(node, (child) => walk(child, visit));
}

function slashes(path: string): string {
  return path.split(sep).join("/");
}
