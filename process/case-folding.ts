/**
 * A text so folded that two are the same where Go's encoding/json takes them for the same key: by Unicode's simple case
 * folding. So "ſ" is an s and the Kelvin sign a k, while "ß" is not "ss". A lone surrogate is U+FFFD to Go.
 */
export const caseFolded = (text: string): string =>
  /^\p{ASCII}*$/u.test(text)
    ? text.toLowerCase()
    : // by the letter, as a sigma at a word's end has a small letter of its own
      text.toWellFormed().replace(/[A-Z]|\P{ASCII}/gu, foldedLetter)

const foldedLetter = (letter: string): string => {
  const exception = exceptions.get(letter)
  if (exception !== undefined) return exception
  const upper = single(letter.toUpperCase()) ?? letter
  return single(upper.toLowerCase()) ?? upper
}

/** The Turkish i's with and without a dot are letters of their own; three fold by Unicode 15.1, but have no single capital. */
const exceptions: ReadonlyMap<string, string> = new Map([
  ['İ', 'İ'],
  ['ı', 'ı'],
  ['\u1fd3', '\u0390'],
  ['\u1fe3', '\u03b0'],
  ['\ufb05', '\ufb06'],
])

/** Undefined for the few mappings that make several letters of one, which are not simple. */
const single = (text: string): string | undefined => (/^.$/su.test(text) ? text : undefined)
