/** The value of a header, however its name is cased: the Engine passes those of a call with one value each. */
export const header = (headers: Readonly<Record<string, string>>, name: string): string | undefined =>
  Object.entries(headers).find(([key]) => key.toLowerCase() === name)?.[1]
