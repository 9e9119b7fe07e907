"""What ended an engine, and what to do: values in, values out; nothing here reads the machine."""
