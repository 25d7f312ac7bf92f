/**
 * Does `work` for every item, at most `atOnce` at a time, begun in order; the results are in the order of the items. At
 * the first error nothing more is begun, what is under way is waited for, and then it rejects with that error.
 */
export const inParallel = async <T, R>(
  items: readonly T[],
  atOnce: number,
  work: (item: T) => Promise<R>,
): Promise<R[]> => {
  const results: R[] = []
  const errors: unknown[] = []
  const left = items.entries()
  const worker = async () => {
    for (const [index, item] of left) {
      try {
        results[index] = await work(item)
      } catch (error) {
        errors.push(error)
      }
      if (errors.length > 0) return
    }
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, worker))
  if (errors.length > 0) throw errors[0]
  return results
}
