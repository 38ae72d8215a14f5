/** CodeMirror in its own shadow root: its styles are adopted there, so the page's policy need not allow inline styles. */
import { autocompletion, closeBrackets, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { bracketMatching, HighlightStyle, indentOnInput, StreamLanguage, syntaxHighlighting } from "@codemirror/language";
import { yaml } from "@codemirror/lang-yaml";
import { python } from "@codemirror/legacy-modes/mode/python";
import { linter, lintGutter } from "@codemirror/lint";
import { MergeView } from "@codemirror/merge";
import { highlightSelectionMatches, searchKeymap } from "@codemirror/search";
import { EditorState, type Extension } from "@codemirror/state";
import { drawSelection, EditorView, highlightActiveLine, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { get } from "../api";
import type { Problem } from "../types";
import { completion, type Schema } from "./completion";

export interface Editor {
  show: (line: number) => void;
  replace: (text: string) => void;
  close: () => void;
}

interface Settings {
  path: string;
  text: string;
  dark: boolean;
  line: number;
  check: (text: string) => Promise<Problem[]>;
  onChange: (text: string) => void;
  onSave: () => void;
}

const colours = HighlightStyle.define([
  { tag: [tags.propertyName, tags.definition(tags.propertyName)], color: "var(--accent)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--ink)" },
  { tag: [tags.number, tags.bool, tags.null, tags.keyword], color: "var(--note)" },
  { tag: tags.comment, color: "var(--ink-faint)", fontStyle: "italic" },
  { tag: [tags.labelName, tags.typeName, tags.meta], color: "var(--warn)" },
]);

function look(dark: boolean): Extension {
  return EditorView.theme(
    {
      "&": { height: "100%", color: "var(--ink)", backgroundColor: "var(--sheet)", fontSize: "0.8125rem" },
      "&.cm-focused": { outline: "none" },
      ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.5" },
      ".cm-content": { caretColor: "var(--ink)" },
      ".cm-gutters": { backgroundColor: "var(--sunk)", color: "var(--ink-faint)", border: "none" },
      ".cm-activeLine": { backgroundColor: "color-mix(in srgb, var(--accent-soft) 45%, transparent)" },
      ".cm-cursor": { borderLeftColor: "var(--ink)" },
      "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": { backgroundColor: "var(--accent-soft)" },
      ".cm-tooltip": { backgroundColor: "var(--sheet)", color: "var(--ink)", border: "1px solid var(--line)" },
      ".cm-tooltip-autocomplete ul li[aria-selected]": { backgroundColor: "var(--accent-soft)", color: "var(--ink)" },
      ".cm-completionDetail": { color: "var(--ink-soft)", fontStyle: "normal" },
      ".cm-changedLine": { backgroundColor: "color-mix(in srgb, var(--warn-soft) 80%, transparent) !important" },
    },
    { dark },
  );
}

function language(path: string): Extension {
  if (/\.ya?ml$/.test(path)) return yaml();
  return path.endsWith(".py") ? StreamLanguage.define(python) : [];
}

function schemaOf(path: string): string | null {
  if (path === "proxy.yaml") return "proxy";
  if (path === "mcp/servers.yaml") return "servers";
  if (/^models\/.*\.ya?ml$/.test(path)) return "model";
  if (/^tools\/.*\.ya?ml$/.test(path)) return "tools";
  return /^skills\/.*\.ya?ml$/.test(path) ? "skill" : null;
}

function shadow(host: HTMLElement): ShadowRoot {
  const root = host.shadowRoot ?? host.attachShadow({ mode: "open" });
  root.replaceChildren();
  return root;
}

export function openEditor(host: HTMLElement, settings: Settings): Editor {
  const root = shadow(host);
  let schema: Schema | null = null;
  const kind = schemaOf(settings.path);
  if (kind !== null) get<Schema>(`admin/config/schemas/${kind}`).then((found) => (schema = found), () => undefined);
  const problems = linter(
    async (view) => {
      const found = await settings.check(view.state.doc.toString()).catch(() => [] as Problem[]);
      return found.map((problem) => {
        const line = view.state.doc.line(Math.min(Math.max(problem.line, 1), view.state.doc.lines));
        const from = Math.min(line.from + Math.max(problem.column - 1, 0), line.to);
        return { from, to: Math.max(from, line.to), severity: problem.severity ?? "error", message: problem.message } as const;
      });
    },
    { delay: 300 },
  );
  const view = new EditorView({
    parent: root,
    root,
    state: EditorState.create({
      doc: settings.text,
      extensions: [
        lineNumbers(), lintGutter(), history(), drawSelection(), indentOnInput(), bracketMatching(), closeBrackets(), highlightActiveLine(), highlightSelectionMatches(),
        keymap.of([{ key: "Mod-s", preventDefault: true, run: () => (settings.onSave(), true) }, ...completionKeymap, ...searchKeymap, ...historyKeymap, ...defaultKeymap, indentWithTab]),
        autocompletion({ override: [completion(() => schema)] }),
        language(settings.path), syntaxHighlighting(colours), look(settings.dark), problems,
        EditorView.contentAttributes.of({ "aria-label": `Text of ${settings.path}` }),
        EditorView.updateListener.of((update) => {
          if (update.docChanged) settings.onChange(update.state.doc.toString());
        }),
      ],
    }),
  });
  const show = (line: number) => {
    const place = view.state.doc.line(Math.min(Math.max(line, 1), view.state.doc.lines));
    view.dispatch({ selection: { anchor: place.from }, effects: EditorView.scrollIntoView(place.from, { y: "center" }) });
    view.focus();
  };
  if (settings.line > 0) show(settings.line);
  return {
    show,
    replace: (text) => view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } }),
    close: () => view.destroy(),
  };
}

export function openDifference(host: HTMLElement, { before, after, path, dark }: { before: string; after: string; path: string; dark: boolean }): () => void {
  const root = shadow(host);
  const extensions = [lineNumbers(), language(path), syntaxHighlighting(colours), look(dark), EditorState.readOnly.of(true), EditorView.editable.of(false), EditorView.lineWrapping];
  const view = new MergeView({ a: { doc: before, extensions }, b: { doc: after, extensions }, parent: root, root, collapseUnchanged: { margin: 2 }, gutter: true });
  return () => view.destroy();
}
