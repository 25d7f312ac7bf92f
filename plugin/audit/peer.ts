import { X509Certificate } from 'node:crypto'

/** The common name of the first certificate, each as the Engine passes it: PEM in base64. Undefined where there is none. */
export const peerName = (certificates: readonly unknown[] | null | undefined): string | undefined => {
  const first = certificates?.[0]
  if (typeof first !== 'string') return undefined
  try {
    const { subject } = new X509Certificate(Buffer.from(first, 'base64'))
    return /^CN=(?<name>.+)$/m.exec(subject ?? '')?.groups?.name
  } catch {
    // the Engine has checked it; whatever else came is no name
    return undefined
  }
}
