/* Keeps a measure on one processor, and small. */
#ifndef PIN_H
#define PIN_H

/* The last processor that this process may use; also frees the areas of area.h. Answers 0. */
int pin(void);
#endif
