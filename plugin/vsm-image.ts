import { Failure } from '../process/failure.ts'
import type { Log } from '../process/log.ts'
import type { Engine } from './engine.ts'

/** The VSM image, which the plugin brings along: no registry and no network is needed to make a volume. */
export class VsmImage {
  readonly #engine: Engine
  readonly #image: string
  readonly #tar: string
  readonly #log: Log
  #loading: Promise<void> | undefined

  constructor(engine: Engine, image: string, tar: string, log: Log) {
    this.#engine = engine
    this.#image = image
    this.#tar = tar
    this.#log = log
  }

  /**
   * Has the Engine hold the image; calls at the same time share one load. Another one that a volume asks for (`image=`)
   * is not pulled: that may take longer than a call of the Engine's, and needs the user's credentials.
   */
  async ensure(asked?: string): Promise<void> {
    await this.#ensureOwn()
    if (asked !== undefined && !(await this.#engine.hasImage(asked)))
      throw new Failure('not-found', `the Engine has no image ${asked}: pull or load it, then repeat`)
  }

  #ensureOwn(): Promise<void> {
    this.#loading ??= this.#load().finally(() => {
      this.#loading = undefined
    })
    return this.#loading
  }

  async #load(): Promise<void> {
    if ((await this.#engine.ensureImage(this.#image, this.#tar)) === 'loaded')
      this.#log.info({ image: this.#image }, 'VSM image loaded into the Engine')
  }
}
