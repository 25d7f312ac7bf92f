/**
 * What of a query is kept. The rest is left out, as some clients repeat the whole create body there, with its
 * environment, and others pass credentials.
 */
const kept = new Set(['name', 'force', 'v', 'link', 'signal', 't', 'filters', 'fromImage', 'repo', 'tag'])

/** The path of a request as it came, and the harmless part of its query. Pure. */
export const auditUri = (uri: string): string => {
  const [whole = ''] = uri.split('#', 1)
  const at = whole.indexOf('?')
  if (at < 0) return whole
  const query = [...new URLSearchParams(whole.slice(at + 1))].filter(([name]) => kept.has(name))
  return whole.slice(0, at) + (query.length > 0 ? `?${new URLSearchParams(query)}` : '')
}
