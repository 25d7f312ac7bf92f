import { z } from 'zod'

/**
 * The whole wire between the Docker Engine and this plugin, in one place. Every call is a POST with a JSON body of no
 * content type; every answer has status 200. Source: the Engine's plugin API (docs.docker.com/engine/extend), and
 * what engines really do (docs/architecture.md).
 */

/** POST /Plugin.Activate: what this plugin implements. */
export const manifest = { Implements: ['VolumeDriver', 'authz'] } as const

/** POST /VolumeDriver.Capabilities: volumes are visible on every host of the cluster. */
export const capabilities = { Capabilities: { Scope: 'global' } } as const

const Name = z.string()
/** The Engine's id of one use of a volume; several uses may share one (docker cp reuses its container's). */
const ID = z.string().default('')

export const requests = {
  create: z.object({ Name, Opts: z.record(z.string(), z.string()).nullish() }),
  remove: z.object({ Name }),
  mount: z.object({ Name, ID }),
  unmount: z.object({ Name, ID }),
  path: z.object({ Name }),
  get: z.object({ Name }),
} as const

export interface VolumeEntry {
  Name: string
  /** Empty while the volume is not mounted on this host. */
  Mountpoint?: string
  CreatedAt?: string
  Status?: Record<string, unknown>
}

/** Answers; `Err` is empty or absent on success, otherwise a sentence for the user. */
export interface Answers {
  create: object
  remove: object
  mount: { Mountpoint: string }
  unmount: object
  path: { Mountpoint: string }
  get: { Volume: VolumeEntry }
  list: { Volumes: VolumeEntry[] }
}

const loose = z.string().default('')
const body = z.string().nullish()
const headers = z.record(z.string(), z.string()).nullish()

/** POST /AuthZPlugin.AuthZReq and, with the Response fields, /AuthZPlugin.AuthZRes. Bodies are base64. */
export const AuthzRequest = z.object({
  User: loose,
  UserAuthNMethod: loose,
  RequestMethod: loose,
  RequestUri: loose,
  RequestBody: body,
  RequestHeaders: headers,
  /** With TLS: each as PEM in base64. */
  RequestPeerCertificates: z.array(z.unknown()).nullish(),
  ResponseStatusCode: z.number().int().default(0),
  ResponseBody: body,
  ResponseHeaders: headers,
})
export type AuthzRequest = z.infer<typeof AuthzRequest>

/** The Engine ignores `Err` with status 200: a refusal is `Allow: false`, and `Msg` is what the user reads. */
export interface AuthzAnswer {
  Allow: boolean
  Msg: string
  Err?: string
}
