/** Takes the labels that are to be registered out of all that an object has. */
export type LabelFilter = (labels: Readonly<Record<string, string>>) => Record<string, string>

/**
 * A filter by OPENEBS_LABELS: names, and prefixes that end in "*" ("com.example.*"); "*" alone lets all pass, "none"
 * alone and the empty list nothing. Pure.
 */
export const labelFilter = (patterns: readonly string[]): LabelFilter => {
  if (patterns.includes('*')) return (labels) => ({ ...labels })
  const wanted = patterns.length === 1 && patterns[0] === 'none' ? [] : patterns
  const names = new Set(wanted.filter((pattern) => !pattern.endsWith('*')))
  const prefixes = wanted.filter((pattern) => pattern.endsWith('*')).map((pattern) => pattern.slice(0, -1))
  const passes = (name: string) => names.has(name) || prefixes.some((prefix) => name.startsWith(prefix))
  return (labels) => Object.fromEntries(Object.entries(labels).filter(([name]) => passes(name)))
}
