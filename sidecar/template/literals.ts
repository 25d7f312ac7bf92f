import { Failure } from '../../process/failure.ts'

/** A number as Go writes it: 42, -7, 0x1f, 0o17, 0b1, 1_000, 1.5, 1e3. Throws Failure `invalid`. */
export const numberOf = (text: string): bigint | number => {
  const sign = text.startsWith('-') ? -1 : 1
  const plain = text.replace(/^[+-]/, '')
  const digits = plain.replace(/(?<=[\da-fxob])_(?=[\da-f])/gi, '')
  if (/^(0x[\da-f]+|0o[0-7]+|0b[01]+|0[0-7]*|[1-9]\d*)$/i.test(digits)) {
    const int = BigInt(sign) * BigInt(digits.replace(/^0(?=[0-7]+$)/, '0o'))
    if (BigInt.asIntN(64, int) !== int) throw new Failure('invalid', `${text} is no integer of 64 bits`)
    return int
  }
  const float = /^(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(digits) ? sign * Number(digits) : Number.NaN
  if (!Number.isFinite(float))
    throw new Failure('invalid', `${text} is no number: expected such as 42, -7, 0x1f or 1.5`)
  return float
}

const escapes: Readonly<Record<string, string>> = {
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
  '\\': '\\',
}

/** What stands between the quotes of a Go string or character, its escapes resolved. Throws Failure `invalid`. */
export const unescaped = (inner: string, quote: '"' | "'"): string =>
  inner.replace(
    /\\(?:x([\da-fA-F]{2})|([0-7]{3})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|(.))/gsu,
    (written: string, ...found: (string | undefined)[]) => {
      const [byte, octal, short, long, other] = found
      const code = short ?? long ?? byte
      if (code !== undefined || octal !== undefined) {
        const point = code === undefined ? Number.parseInt(octal ?? '', 8) : Number.parseInt(code, 16)
        const most = short === undefined && long === undefined ? 0x7f : 0x10ffff
        if (point > most || (point >= 0xd800 && point < 0xe000))
          throw new Failure(
            'invalid',
            `${written} is no character: write it as it is, or as \\u and four digits`,
          )
        return String.fromCodePoint(point)
      }
      const known = other === quote ? quote : escapes[other ?? '']
      if (known === undefined)
        throw new Failure(
          'invalid',
          `unknown escape ${written}: expected one of \\n \\t \\\\ \\${quote} \\u0000`,
        )
      return known
    },
  )
