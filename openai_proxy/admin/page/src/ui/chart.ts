/** Charts over time; uPlot is loaded only if there is something to draw. */
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

/** One line or row of bars; `values` has a value, or null for none, for each moment of the chart. */
export interface Series {
  label: string;
  /** The name of a colour, as in tokens.css. */
  colour: string;
  values: (number | null)[];
}

export interface ChartData {
  /** Seconds since the epoch. */
  at: number[];
  series: Series[];
  kind: "bars" | "lines";
  /** Formats a value. */
  show: (value: number) => string;
  /** Formats a moment for the legend. */
  moment: (at: Date) => string;
  /** The minimum range of the vertical axis. */
  least: number;
}

/** Draw into `element`; returns a function that removes the chart. */
export function draw(element: HTMLElement, data: ChartData): () => void {
  const style = getComputedStyle(document.documentElement);
  const colour = (name: string) => style.getPropertyValue(name).trim();
  const axis: uPlot.Axis = {
    stroke: colour("--ink-soft"),
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { show: false },
    font: "12px system-ui",
  };
  const bars = data.kind === "bars" ? uPlot.paths.bars?.({ size: [0.6, 40] }) : undefined;
  const series = (one: Series): uPlot.Series => ({
    label: one.label,
    stroke: colour(one.colour),
    width: bars ? 1 : 2,
    points: { show: !bars && data.at.length < 60 },
    value: (_, value) => (value === null ? "–" : data.show(value)),
    ...(bars ? { paths: bars, fill: `${colour(one.colour)}55` } : {}),
  });
  const plot = new uPlot(
    {
      width: Math.max(element.clientWidth, 200),
      height: 200,
      cursor: { y: false },
      scales: { y: { range: (_, __, most) => [0, Math.max((most ?? 0) * 1.1, data.least)] } },
      series: [{ value: (_, at) => (at === null ? "–" : data.moment(new Date(at * 1000))) }, ...data.series.map(series)],
      axes: [axis, { ...axis, size: 56, values: (_, values) => values.map((value) => data.show(value)) }],
    },
    [data.at, ...data.series.map((one) => one.values)],
    element,
  );
  const watch = new ResizeObserver(() => plot.setSize({ width: Math.max(element.clientWidth, 200), height: 200 }));
  watch.observe(element);
  return () => {
    watch.disconnect();
    plot.destroy();
  };
}
