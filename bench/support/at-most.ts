/** All of it, at most so many at a time, in order; what fails is an Error in the place of its result. */
export const atMost = async <A, B>(
  most: number,
  all: readonly A[],
  work: (one: A) => Promise<B>,
): Promise<(B | Error)[]> => {
  const done: (B | Error)[] = new Array(all.length)
  const left = all.entries()
  const worker = async () => {
    for (const [index, one] of left)
      done[index] = await work(one).catch((error: unknown) =>
        error instanceof Error ? error : new Error(String(error)),
      )
  }
  await Promise.all(Array.from({ length: most }, worker))
  return done
}
