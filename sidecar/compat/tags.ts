import { Failure } from '../../process/failure.ts'
import type { Log } from '../../process/log.ts'
import { splitTags } from '../metadata.ts'
import { containerData, parseTemplate, renderTemplate } from '../template/template.ts'

/** How many containers are remembered that the template does not fit. */
const most = 1000

/**
 * The tags that a template gives a container, of all that the Engine says of it. A container that it does not fit gets none from it,
 * which is told once. Errors: `invalid`, for a template that is wrong in itself.
 */
export const templateTags = (template: string, log: Pick<Log, 'warn'>) => {
  const parsed = parseTemplate(template)
  const told = new Set<string>()
  return (container: unknown): readonly string[] => {
    try {
      return splitTags(renderTemplate(parsed, containerData(container)))
    } catch (error) {
      if (!(error instanceof Failure)) throw error
      const { Name: name = '' } = container as { Name?: string }
      if (!told.has(name)) {
        if (told.size < most) told.add(name)
        log.warn(
          { container: name.replace(/^\//, ''), reason: error.message },
          'registered without the tags of -tags',
        )
      }
      return []
    }
  }
}
