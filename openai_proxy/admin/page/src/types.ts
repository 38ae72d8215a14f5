/** The shapes of /admin/*; docs/admin-api.md says what they mean. */

export interface Problem {
  file: string;
  line: number;
  column: number;
  message: string;
  severity?: "error" | "warning";
}

export interface Connection {
  name: string;
  api_type: string;
  state: string;
  last_error: string | null;
  models: number;
  keys: number;
  resting_keys: number;
  resting_models: string[];
}

export interface McpServer {
  name: string;
  type: string;
  state: string;
  pid: number | null;
  protocol: string | null;
  tools: string[];
  restarts: number;
  last_error: string | null;
  stderr: string;
  failures?: number;
  calls?: number;
  held_back?: string[];
  left_out?: number;
}

export interface Running {
  id: string;
  model: string | null;
  state: string;
  since: string;
  path: string;
  connection: string | null;
  group: string | null;
  remote?: string;
  seconds?: number;
}

export interface Status {
  version: string;
  started_at: string;
  config: { generation: number; loaded_at: string; problems: Problem[] };
  connections: Connection[];
  mcp_servers: McpServer[];
  requests: Running[];
  /** The port for voice satellites; null while it is closed. */
  wyoming?: { port: number; stt: string | null; tts: string | null; clients: number } | null;
}

/** A request of the list. */
export interface Row {
  id: string;
  conversation_id: string | null;
  at: number;
  model: string | null;
  connection: string | null;
  upstream_model: string | null;
  group: string | null;
  key_id: string | null;
  asked: string;
  answered: string;
  stream: boolean | null;
  status: number | null;
  outcome: string | null;
  error: string | null;
  finish_reason: string | null;
  input_tokens: number;
  output_tokens: number;
  estimated: boolean;
  duration_ms: number | null;
  ttft_ms: number | null;
  attempts: number;
  tools: number;
  finished: boolean;
  /** Only of a running request. */
  state?: string;
}

export interface Attempt {
  connection: string;
  model?: string;
  key_id?: string;
  status?: number;
  error?: string;
  duration_ms: number;
}

export interface ToolCall {
  id?: string;
  name?: string;
  arguments?: string;
  arguments_length?: number;
}

export interface Item {
  kind: "message" | "answer" | "tool_call" | "error";
  at: string;
  request_id: string;
  model: string;
  role?: string;
  text?: string;
  text_length?: number;
  reasoning?: string;
  tool_calls?: ToolCall[];
  tool?: string;
  arguments?: string;
  result?: string;
  result_length?: number;
  status?: number | string;
  code?: string;
  finish?: string;
  finish_reason?: string;
  connection?: string;
  upstream_model?: string;
  duration_ms?: number;
  ttft_ms?: number;
  attempts?: Attempt[];
  input_tokens?: number;
  output_tokens?: number;
  estimated?: boolean;
}

export interface Conversation {
  id: string;
  models: string[];
  first: string;
  last: string;
  turns: number;
  errors: number;
  input_tokens: number;
  output_tokens: number;
  left_out: number;
  items: Item[];
}

export interface LiveEvent {
  kind: string;
  ts: number;
  [member: string]: unknown;
}

export interface UsageRow {
  requests: number;
  input_tokens: number;
  output_tokens: number;
  cached_tokens: number;
  cost: number | null;
  [label: string]: string | number | null;
}

export interface Usage {
  by: string[];
  since: string | null;
  rows: UsageRow[];
  total: UsageRow;
  currency?: string;
}

export interface LatencyRow {
  at: number;
  requests: number;
  first_p50: number | null;
  first_p95: number | null;
  p50: number | null;
  p95: number | null;
}

export interface Latency {
  by: string;
  rows: LatencyRow[];
}
