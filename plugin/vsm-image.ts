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

  /** Has the Engine hold the image; calls at the same time share one load. */
  ensure(): Promise<void> {
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
