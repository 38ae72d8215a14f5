/** Completion of keys and values from the JSON Schema that the daemon ships for each kind of file. */
import type { Completion, CompletionContext, CompletionResult } from "@codemirror/autocomplete";

export interface Schema {
  $ref?: string;
  $defs?: Record<string, Schema>;
  type?: string | string[];
  description?: string;
  properties?: Record<string, Schema>;
  additionalProperties?: boolean | Schema;
  items?: Schema;
  anyOf?: Schema[];
  enum?: unknown[];
  default?: unknown;
}

export function completion(schema: () => Schema | null): (context: CompletionContext) => CompletionResult | null {
  return (context) => {
    const root = schema();
    const line = context.state.doc.lineAt(context.pos);
    const before = line.text.slice(0, context.pos - line.from);
    if (root === null || before.includes("#")) return null;
    const value = /^(\s*(?:- )?)([\w.-]+):\s+(\S*)$/.exec(before);
    const key = /^(\s*(?:- )*)([\w.-]*)$/.exec(before);
    const indent = (value?.[1] ?? key?.[1] ?? "").length;
    if (value === null && (key === null || (!context.explicit && key[2] === ""))) return null;
    const owners = at(root, path(context, line.number, indent), root);
    if (value !== null) {
      const options = owners.flatMap((owner) => values(owner.properties?.[value[2] ?? ""], root));
      return options.length > 0 ? { from: context.pos - (value[3]?.length ?? 0), options, validFor: /^\S*$/ } : null;
    }
    // A key that several forms share (the kinds of tools) is offered once.
    const members = new Map(owners.flatMap((owner) => Object.entries(owner.properties ?? {})).reverse());
    const options = [...members].reverse().map(([name, member]): Completion => ({ label: name, apply: `${name}: `, type: "property", detail: detail(member, root), ...(described(member, root) ? { info: described(member, root) } : {}) }));
    return options.length > 0 ? { from: context.pos - (key?.[2]?.length ?? 0), options, validFor: /^[\w.-]*$/ } : null;
  };
}

/** The path of keys to a line, read from the indentation above it. */
function path(context: CompletionContext, number: number, indent: number): string[] {
  const keys: string[] = [];
  let depth = indent;
  for (let above = number - 1; above > 0 && depth > 0; above--) {
    const match = /^(\s*(?:- )*)([^\s#:][^:#]*):/.exec(context.state.doc.line(above).text);
    const at = match?.[1]?.length ?? Number.POSITIVE_INFINITY;
    if (match !== null && at < depth) {
      keys.unshift((match[2] ?? "").replaceAll(/["']/g, ""));
      depth = at;
    }
  }
  return keys;
}

/** All alternatives of a schema, with references followed. */
function forms(schema: Schema | undefined, root: Schema): Schema[] {
  if (schema === undefined) return [];
  if (schema.$ref) return forms(root.$defs?.[schema.$ref.replace("#/$defs/", "")], root);
  return [schema, ...(schema.anyOf ?? []).flatMap((form) => forms(form, root)), ...(schema.items ? forms(schema.items, root) : [])];
}

function at(schema: Schema, keys: string[], root: Schema): Schema[] {
  let found = forms(schema, root);
  for (const key of keys) {
    found = found.flatMap((owner) => {
      const member = owner.properties?.[key] ?? (typeof owner.additionalProperties === "object" ? owner.additionalProperties : undefined);
      return forms(member, root);
    });
  }
  return found.filter((owner) => owner.properties);
}

function values(member: Schema | undefined, root: Schema): Completion[] {
  return forms(member, root).flatMap((form) => {
    const options = form.enum ?? (form.type === "boolean" ? [true, false] : []);
    return options.map((option) => ({ label: String(option), type: "enum" }));
  });
}

function detail(member: Schema, root: Schema): string {
  const types = new Set(forms(member, root).flatMap((form) => form.type ?? []).filter((type) => type !== "null"));
  return [...types].slice(0, 2).join(" or ");
}

function described(member: Schema, root: Schema): string {
  return member.description ?? forms(member, root).find((form) => form.description)?.description ?? "";
}
